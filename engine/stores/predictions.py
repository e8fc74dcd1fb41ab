"""Records as earlier versions kept them, one a row: only read, labelled and removed."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, Subquery, case, literal, select

from engine.domain.errors import RecordsUnavailable
from engine.domain.record import JoinedRecord, Outcome, Record, RecordQuery
from engine.stores.tables import OUTCOMES, PREDICTIONS

_FEATURES = [*PREDICTIONS.c.keys()].index("features")


def read_predictions(
    connection: Connection, question: RecordQuery, at_once: int
) -> Iterator[JoinedRecord]:
    """In the order of time, then of id and version."""
    streamed = {"yield_per": at_once}
    with connection.execute(_asked(question), execution_options=streamed) as rows:
        for row in rows:
            yield _joined(row)


def _joined(row: Sequence[Any]) -> JoinedRecord:
    """What one row of `_asked` says; raises RecordsUnavailable when its features are no JSON."""
    *values, actual, known_at = row
    values[_FEATURES] = _features(values[_FEATURES], of=values[0])
    record = Record(*values)
    return JoinedRecord(record, None if actual is None else Outcome(record.id, actual, known_at))


def _features(text: str, *, of: str) -> dict[str, Any]:
    try:
        features = orjson.loads(text)
        if isinstance(features, dict):
            return features
    except orjson.JSONDecodeError:
        pass
    raise RecordsUnavailable(f"the features of record {of} cannot be read: {text[:40]!r}")


def _asked(question: RecordQuery) -> Select[*tuple[Any, ...]]:
    """Without statistics SQLite would rather look for a problem than for an id: where ids are
    known, the problem is no condition."""
    c = PREDICTIONS.c
    late = _known(question) if question.with_outcome else OUTCOMES
    both = PREDICTIONS.join(late, c.id == late.c.prediction_id, isouter=not question.with_outcome)
    wanted = select(*_columns(question), late.c.actual, late.c.known_at).select_from(both)
    if not question.with_outcome:
        wanted = wanted.where(c.problem == question.problem)
    if question.since is not None:
        wanted = wanted.where(c.at >= question.since)
    if question.until is not None:
        wanted = wanted.where(c.at < question.until)
    if question.newest is None:
        return wanted.order_by(c.at, c.id, c.version)
    latest = wanted.order_by(c.at.desc(), c.id.desc(), c.version.desc())
    found = latest.limit(question.newest).subquery().c
    return select(*found).order_by(found.at, found.id, found.version)


def _known(question: RecordQuery) -> Subquery:
    """The latest outcomes of a problem, whatever times are asked for: to walk past all that lie
    outside of them would take longer in a larger table."""
    late = OUTCOMES.c
    known = select(late.prediction_id, late.actual, late.known_at)
    known = known.where(late.problem == question.problem).order_by(late.prediction_id.desc())
    return known.limit(question.newest).subquery()


def _columns(question: RecordQuery) -> list[ColumnElement[Any]]:
    c = PREDICTIONS.c
    if question.with_rows:
        return [*c]
    unnamed = case((c.unit.is_(None), c.features), else_=literal("{}")).label("features")
    return [unnamed if column is c.features else column for column in c]
