"""Records and outcomes: in memory, or in two tables of SQLite or PostgreSQL."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Table, delete, select, tuple_
from sqlalchemy.exc import DataError, IntegrityError

from engine.domain.errors import (
    InvalidSetting,
    OutcomeConflict,
    RecordsUnavailable,
    UnknownPrediction,
)
from engine.domain.record import JoinedRecord, Outcome, Record, RecordQuery
from engine.stores.databases import POSTGRESQL, SQLITE, Database, reason
from engine.stores.insertion import Rows, insertion
from engine.stores.tables import (
    OUTCOMES,
    PREDICTIONS,
    TABLES,
    asked,
    joined,
    row_of,
)

BUSY_SECONDS = 1
"""How long one who writes to SQLite waits for another."""
MOST_ROWS = 2_000
"""Rows a statement: with 15 columns, fewer parameters than the 32,766 SQLite takes."""
_FORGOTTEN_AT_ONCE = 10_000
_READ_AT_ONCE = 1_000
_SHOWN, _SHOWN_LETTERS = 3, 60


class MemoryRecords:
    """Forgets everything when the process ends; for tests and trials."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._lock = Lock()

    def append(self, records: Sequence[Record]) -> None:
        with self._lock:
            for record in records:
                self._records.setdefault((record.id, record.version), record)

    def label(self, problem: str, outcomes: Sequence[Outcome]) -> int:
        with self._lock:
            known = {one.id for one in self._records.values() if one.problem == problem}
            _refuse_unknown(outcomes, known)
            kept = _first_of_each(outcomes) | self._outcomes
            _refuse_conflicts(outcomes, {key: one.actual for key, one in kept.items()})
            new = len(kept) - len(self._outcomes)
            self._outcomes = kept
            return new

    def read(self, question: RecordQuery) -> Iterator[JoinedRecord]:
        with self._lock:
            every = [JoinedRecord(one, self._outcomes.get(one.id)) for one in self._in_order()]
        known = _latest_known(every, question)
        found = [_lean(one, question) for one in every if _is_asked_for(one, question, known)]
        first = 0 if question.newest is None else max(len(found) - question.newest, 0)
        yield from found[first:]

    def forget(self, before: str, at_most: int) -> int:
        with self._lock:
            gone = [one for one in self._in_order() if one.at < before][:at_most]
            for record in gone:
                del self._records[record.id, record.version]
            left = {one.id for one in self._records.values()}
            self._outcomes = {key: one for key, one in self._outcomes.items() if key in left}
            return len(gone)

    def close(self) -> None:
        """Nothing to let go of."""

    def _in_order(self) -> list[Record]:
        return sorted(self._records.values(), key=lambda one: (one.at, one.id, one.version))


class SqlRecords:
    """Two tables of plain SQL; numbers come back exactly.

    What a database refuses for what it says, and always will, is a ValueError and no outage: half
    a surrogate pair in any text; in PostgreSQL also NUL, and ids and names over 100 letters.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(
            url,
            role="records",
            tables=TABLES,
            unavailable=RecordsUnavailable,
            busy_seconds=BUSY_SECONDS,
            keep=True,
        )
        if self._database.kind not in {SQLITE, POSTGRESQL}:
            raise InvalidSetting("RECORDS_URL: must begin with sqlite: or postgresql:")

    def append(self, records: Sequence[Record]) -> None:
        rows = [row_of(record) for record in records]
        is_one = len(rows) <= MOST_ROWS
        with _refusals(), self._database.adding(one_statement=is_one) as connection:
            self._insert(connection, PREDICTIONS, rows)

    def label(self, problem: str, outcomes: Sequence[Outcome]) -> int:
        firsts = _first_of_each(outcomes)
        rows = [(key, problem, one.actual, one.known_at) for key, one in firsts.items()]
        with _refusals(), self._database.changing() as connection:
            known = set() if connection is None else _known(connection, problem, firsts)
            _refuse_unknown(outcomes, known)
            if connection is None:
                return 0
            new = self._insert(connection, OUTCOMES, rows)
            _refuse_conflicts(outcomes, _actuals(connection, firsts))
            return new

    def read(self, question: RecordQuery) -> Iterator[JoinedRecord]:
        """A stream, of one moment; close it when it is not read to its end."""
        with self._database.reading() as connection:
            if connection is None:
                return
            streamed = {"yield_per": _READ_AT_ONCE}
            with connection.execute(asked(question), execution_options=streamed) as rows:
                for row in rows:
                    yield joined(row)

    def forget(self, before: str, at_most: int) -> int:
        c = PREDICTIONS.c
        old = select(c.id, c.version).where(c.at < before).order_by(c.at, c.id, c.version)
        old = old.limit(min(at_most, _FORGOTTEN_AT_ONCE)).with_for_update(skip_locked=True)
        with self._database.changing() as connection:
            if connection is None:
                return 0
            keys = [(row.id, row.version) for row in connection.execute(old)]
            if not keys:
                return 0
            ids, these = {key[0] for key in keys}, tuple_(c.id, c.version).in_(keys)
            connection.execute(delete(PREDICTIONS).where(c.id.in_(ids), these))
            theirs = OUTCOMES.c.prediction_id.in_(ids)
            is_left = select(c.id).where(c.id == OUTCOMES.c.prediction_id).exists()
            connection.execute(delete(OUTCOMES).where(theirs, ~is_left))
            return len(keys)

    def close(self) -> None:
        self._database.close()

    def _insert(self, connection: Connection, table: Table, rows: Rows) -> int:
        """How many were new."""
        new = 0
        for some in _pieces(rows):
            statement, parameters = insertion(self._database.kind, table, some)
            new += connection.exec_driver_sql(statement, parameters).rowcount
        return new


def _pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + MOST_ROWS] for start in range(0, len(items), MOST_ROWS))


def _known(connection: Connection, problem: str, ids: Iterable[str]) -> set[str]:
    """Which are recorded; PostgreSQL keeps them from being forgotten until the transaction ends.

    An id that cannot be printed was never given, and PostgreSQL would refuse to look for it. They
    are found by id alone: by the problem, SQLite without statistics would look at all of them.
    """
    c = PREDICTIONS.c
    recorded = select(c.id, c.problem).with_for_update(read=True)
    asked_for = _pieces([key for key in ids if key.isprintable()])
    found = (connection.execute(recorded.where(c.id.in_(some))) for some in asked_for)
    return {row.id for rows in found for row in rows if row.problem == problem}


def _actuals(connection: Connection, ids: Iterable[str]) -> dict[str, float]:
    c = OUTCOMES.c
    reported = select(c.prediction_id, c.actual)
    found = (
        connection.execute(reported.where(c.prediction_id.in_(some))) for some in _pieces([*ids])
    )
    return {row.prediction_id: row.actual for rows in found for row in rows}


def _first_of_each(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """By prediction, ordered by its id: writers that meet wait for each other in one order."""
    firsts: dict[str, Outcome] = {}
    for outcome in outcomes:
        firsts.setdefault(outcome.prediction_id, outcome)
    return dict(sorted(firsts.items()))


def _refuse_unknown(outcomes: Sequence[Outcome], known: Collection[str]) -> None:
    rows = [row for row, one in enumerate(outcomes) if one.prediction_id not in known]
    if rows:
        raise UnknownPrediction(f"no prediction was recorded as {_named(outcomes, rows)}")


def _refuse_conflicts(outcomes: Sequence[Outcome], actuals: Mapping[str, float]) -> None:
    """`actuals` is what each prediction has, the first of these outcomes at least."""
    rows = [row for row, one in enumerate(outcomes) if one.actual != actuals[one.prediction_id]]
    if rows:
        raise OutcomeConflict(f"another outcome was reported for {_named(outcomes, rows)}")


def _named(outcomes: Sequence[Outcome], rows: Sequence[int]) -> str:
    shown = [
        f"{outcomes[row].prediction_id[:_SHOWN_LETTERS]!r} (row {row})" for row in rows[:_SHOWN]
    ]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{', '.join(shown)}{more}; {len(rows)} of {len(outcomes)} were refused"


def _latest_known(every: Sequence[JoinedRecord], question: RecordQuery) -> set[str]:
    of_problem = (one for one in every if one.record.problem == question.problem)
    known = sorted({one.record.id for one in of_problem if one.outcome is not None}, reverse=True)
    return set(known[: question.newest])


def _is_asked_for(one: JoinedRecord, question: RecordQuery, known: Collection[str]) -> bool:
    record = one.record
    return (
        record.problem == question.problem
        and (question.since is None or question.since <= record.at)
        and (question.until is None or record.at < question.until)
        and (record.id in known or not question.with_outcome)
    )


def _lean(one: JoinedRecord, question: RecordQuery) -> JoinedRecord:
    if question.with_rows or one.record.unit is None:
        return one
    return replace(one, record=replace(one.record, row={}))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise ValueError(f"the database refuses it: {reason(error)}") from error
