"""The tables of records and outcomes, and a block of records as one row of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from struct import error as StructError  # noqa: N812 - an exception
from typing import Any

import numpy as np
import orjson
from sqlalchemy import Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

from engine.domain.errors import RecordsUnavailable
from engine.domain.record import Record, RecordBlock, row_id
from engine.domain.rows import Places
from engine.stores.contents import packed, unpacked, unpacked_alone
from engine.stores.insertion import KEY

TABLES = MetaData()
ANSWERS = Table(
    "answers",
    TABLES,
    Column("id", KEY, primary_key=True),
    Column("version", KEY, primary_key=True),
    Column("variant", KEY, primary_key=True),
    Column("first", Integer, primary_key=True, autoincrement=False),
    Column("at", KEY, nullable=False),
    Column("problem", KEY, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("numbers", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("answers_by_problem", "problem", "at"),
    Index("answers_by_age", "at"),
)
"""A row is a block: `rows` rows of a turn, numbered from `first` on, or as `numbers` says where
some are left out (`_runs`). `first` is part of the key: where two variants fail, the champion
answers twice. What is said about each row is in `content`."""
UNITS = Table(
    "units",
    TABLES,
    Column("problem", KEY, primary_key=True),
    Column("unit", KEY, primary_key=True),
    Column("id", KEY, primary_key=True),
    sqlite_with_rowid=False,
)
"""In which blocks there is something about a unit that was named."""
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
"""What earlier versions wrote, a record a row: the fields of a Record, in their order, `features`
as JSON. Nothing is added to it."""
_LONGEST_UNIT = 90


def row_of(block: RecordBlock) -> list[Any]:
    """Of ANSWERS; raises ValueError when a row is no JSON, or a text is half a surrogate pair."""
    key = [block.id, block.version, block.variant, int(block.numbers[0])]
    about = [block.at, block.problem, len(block), _runs(block.numbers)]
    return [*key, *about, packed(block)]


def block_of(row: Any, *, with_rows: bool = True) -> RecordBlock:
    """Of a row of ANSWERS; raises RecordsUnavailable when its content cannot be read."""
    with _named(row):
        return RecordBlock(
            id=row.id,
            at=row.at,
            problem=row.problem,
            version=row.version,
            variant=row.variant,
            numbers=numbers_of(row),
            **unpacked(row.content, row.rows, with_rows=with_rows),
        )


def record_of(row: Any, *, with_rows: bool = True) -> Record:
    """Of a row of ANSWERS that is about one row; raises RecordsUnavailable as `block_of` does."""
    with _named(row):
        return Record(
            id=row_id(row.id, row.first),
            at=row.at,
            problem=row.problem,
            version=row.version,
            variant=row.variant,
            **unpacked_alone(row.content, with_rows=with_rows),
        )


@contextmanager
def _named(row: Any) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, StructError) as error:
        name = row_id(row.id, row.first)
        raise RecordsUnavailable(f"the record {name} cannot be read: {error}") from error


def numbers_of(row: Any) -> Places:
    """Which rows a row of ANSWERS is about, (rows,)."""
    if not row.numbers:
        return np.arange(row.first, row.first + row.rows)
    starts, counts = np.array(orjson.loads(row.numbers)).reshape(-1, 2).T
    before = np.cumsum(counts) - counts
    numbers: Places = np.arange(row.rows) + np.repeat(starts - before, counts)
    return numbers


def unit_rows(blocks: Sequence[RecordBlock]) -> list[tuple[str, str, str]]:
    """Of UNITS, those that are named, in the order of their keys."""
    return sorted(
        {
            (block.problem, unit_key(unit), block.id)
            for block in blocks
            for unit in {*block.units}
            if unit is not None
        }
    )


def unit_key(unit: str) -> str:
    """What a unit is found by: itself, or its digest where a database would refuse it."""
    if len(unit) <= _LONGEST_UNIT and unit.isprintable():
        return unit
    return f"sha256:{sha256(unit.encode()).hexdigest()}"


def _runs(numbers: Places) -> str:
    """Nothing where they follow each other; else where each run starts, and how many it has."""
    if len(numbers) == 1:
        return ""
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 2) != 1)
    if len(starts) == 1:
        return ""
    counts = np.diff(starts, append=len(numbers))
    return orjson.dumps(np.column_stack((numbers[starts], counts)).ravel().tolist()).decode()
