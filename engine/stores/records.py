"""Records and outcomes in tables of SQLite or PostgreSQL, a block of records a row."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import DataError, IntegrityError

from engine.domain.errors import InvalidSetting, RecordsUnavailable
from engine.domain.record import JoinedRecord, Outcome, RecordBlock, RecordQuery
from engine.stores.answers import found_rows, read_answers
from engine.stores.databases import POSTGRESQL, SQLITE, Database, reason
from engine.stores.insertion import Rows, insertion
from engine.stores.outcomes import first_of_each, refuse_conflicts, refuse_unknown
from engine.stores.predictions import read_predictions
from engine.stores.removal import erase_blocks, erase_predictions, forget_blocks, forget_predictions
from engine.stores.tables import (
    ANSWERS,
    OUTCOMES,
    PREDICTIONS,
    TABLES,
    UNITS,
    row_of,
    unit_rows,
)

BUSY_SECONDS = 1
"""How long one who writes to SQLite waits for another."""
MOST_ROWS = 2_000
"""Rows a statement: with 9 columns, fewer parameters than the 32,766 SQLite takes."""
_REMOVED_AT_ONCE = 10_000
_READ_AT_ONCE = 1_000
_Step = Callable[[Connection, str, str], int | None]


class SqlRecords:
    """Tables of plain SQL; numbers come back exactly. Records of earlier versions, one a row, are
    read and removed with the others.

    What a database refuses for what it says, and always will, is a ValueError and no outage: half
    a surrogate pair in any text; in PostgreSQL also NUL, and names over 100 letters.
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

    def append(self, blocks: Sequence[RecordBlock]) -> None:
        rows, units = [row_of(block) for block in blocks if len(block)], unit_rows(blocks)
        is_one = len(rows) <= MOST_ROWS and not units
        with _refusals(), self._database.adding(one_statement=is_one) as connection:
            self._insert(connection, ANSWERS, rows)
            self._insert(connection, UNITS, units)

    def label(self, problem: str, outcomes: Sequence[Outcome]) -> int:
        firsts = first_of_each(outcomes)
        rows = [(key, problem, one.actual, one.known_at) for key, one in firsts.items()]
        with _refusals(), self._database.changing() as connection:
            known = set() if connection is None else _known(connection, problem, firsts)
            refuse_unknown(outcomes, known)
            if connection is None:
                return 0
            new = self._insert(connection, OUTCOMES, rows)
            refuse_conflicts(outcomes, _actuals(connection, firsts))
            return new

    def read(self, question: RecordQuery) -> Iterator[JoinedRecord]:
        """A stream, of one moment; close it when it is not read to its end."""
        with self._database.reading() as connection:
            if connection is None:
                return
            every = [read_predictions(connection, question, _READ_AT_ONCE)]
            if self._database.has(connection, ANSWERS):
                every.append(read_answers(connection, question, _READ_AT_ONCE))
            found = merge(*every, key=lambda one: one.record.at)
            yield from found if question.newest is None else deque(found, question.newest)

    def forget(self, before: str, at_most: int) -> int:
        most = min(at_most, _REMOVED_AT_ONCE)
        with self._database.changing() as connection:
            if connection is None:
                return 0
            gone = forget_predictions(connection, before, most)
            return gone + forget_blocks(connection, before, most - gone)

    def erase(self, problem: str, unit: str) -> int:
        """In steps, each a transaction: no writer waits for long."""
        total = 0
        for step in (erase_predictions, erase_blocks):
            while (gone := self._erase_some(step, problem, unit)) is not None:
                total += gone
        return total

    def _erase_some(self, step: _Step, problem: str, unit: str) -> int | None:
        with self._database.changing() as connection:
            if connection is None:
                return None
            if self._database.kind == SQLITE:  # what is removed is overwritten
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            return step(connection, problem, unit)

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
    given = {key for key in ids if key.isprintable()}
    there = found_rows(connection, given, keep=True)
    found = {key for whose, key in there if whose == problem}
    return found | _known_alone(connection, problem, given - found)


def _known_alone(connection: Connection, problem: str, ids: Collection[str]) -> set[str]:
    c = PREDICTIONS.c
    recorded = select(c.id, c.problem).with_for_update(read=True)
    found = (connection.execute(recorded.where(c.id.in_(some))) for some in _pieces(sorted(ids)))
    return {row.id for rows in found for row in rows if row.problem == problem}


def _actuals(connection: Connection, ids: Iterable[str]) -> dict[str, float]:
    c = OUTCOMES.c
    reported = select(c.prediction_id, c.actual)
    found = (
        connection.execute(reported.where(c.prediction_id.in_(some))) for some in _pieces([*ids])
    )
    return {row.prediction_id: row.actual for rows in found for row in rows}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise ValueError(f"the database refuses it: {reason(error)}") from error
