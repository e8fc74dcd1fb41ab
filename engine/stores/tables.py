"""The two tables of records and outcomes: a record as a row, a question as one SELECT."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Index,
    MetaData,
    Select,
    Subquery,
    Table,
    Text,
    case,
    literal,
    select,
)

from engine.domain.errors import RecordsUnavailable
from engine.domain.record import JoinedRecord, Outcome, Record, RecordQuery
from engine.stores.insertion import KEY

TABLES = MetaData()
PREDICTIONS = Table(
    "predictions",
    TABLES,
    Column("id", KEY, primary_key=True),
    Column("at", KEY, nullable=False),
    Column("problem", KEY, nullable=False),
    Column("version", KEY, primary_key=True),
    Column("variant", KEY, nullable=False),
    Column("features", Text, nullable=False),
    Column("value", Double),
    Column("lower", Double),
    Column("upper", Double),
    Column("level", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("caller", Text),
    Column("unit", Text),
    Column("latency_us", Double),
    Column("error", Text),
    Index("predictions_by_problem", "problem", "at"),
    Index("predictions_by_age", "at"),
)
"""The fields of a Record, in their order; `features` is its row as JSON."""
OUTCOMES = Table(
    "outcomes",
    TABLES,
    Column("prediction_id", KEY, primary_key=True),
    Column("problem", KEY, nullable=False),
    Column("actual", Double, nullable=False),
    Column("known_at", KEY, nullable=False),
    Index("outcomes_by_problem", "problem", "prediction_id"),
)
"""Ids begin with the time: the index finds the latest predictions that have an outcome."""
_FIELDS = [field.name for field in fields(Record)]
_FEATURES = _FIELDS.index("row")
_fields_of = attrgetter(*_FIELDS)


def row_of(record: Record) -> list[Any]:
    values = list(_fields_of(record))
    values[_FEATURES] = orjson.dumps(dict(record.row)).decode()
    return values


def joined(row: Sequence[Any]) -> JoinedRecord:
    """What one row of `asked` says; raises RecordsUnavailable when its features are no JSON."""
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


def asked(question: RecordQuery) -> Select[*tuple[Any, ...]]:
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
