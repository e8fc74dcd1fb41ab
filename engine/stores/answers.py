"""Blocks of records as they are asked for: found, joined with their outcomes, in order."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Select, select

from engine.domain.record import (
    JoinedRecord,
    Outcome,
    Record,
    RecordQuery,
    id_parts,
    row_id,
)
from engine.stores.databases import POSTGRESQL, SQLITE
from engine.stores.tables import ANSWERS, OUTCOMES, block_of, numbers_of, record_of

_Blocks = list[Any]
"""Rows of ANSWERS."""
_SAID_OF = """
SELECT prediction_id, actual, known_at FROM {0} CROSS JOIN outcomes
WHERE prediction_id > asked.value || '-' AND prediction_id < asked.value || '.'
"""
"""All outcomes of any blocks, in one statement: '.' is the letter after '-'."""
_SAID_OF_IN = {
    SQLITE: _SAID_OF.format("json_each(?) AS asked"),
    POSTGRESQL: _SAID_OF.format("unnest(%s::text[]) AS asked(value)"),
}
_IDS_AT_ONCE = 2_000
_turn_of = attrgetter("at", "id")


def read_answers(
    connection: Connection, question: RecordQuery, at_once: int
) -> Iterator[JoinedRecord]:
    """In the order of time, then of block, row and version."""
    if question.newest is None:
        for some in _streamed(connection, _wanted(question), at_once):
            yield from _joined(connection, some, question)
    elif question.with_outcome:
        yield from _latest_known(connection, question)
    else:
        newest = _newest(connection, question, at_once)
        yield from _joined(connection, newest, question)


def found_rows(
    connection: Connection, ids: Iterable[str], *, keep: bool = False
) -> Iterator[tuple[str, str]]:
    """Problem and id of those rows that blocks have; with `keep` PostgreSQL lets nobody remove them
    until the transaction ends."""
    asked: defaultdict[str, set[int]] = defaultdict(set)
    for block, number in map(id_parts, ids):
        if number is not None:
            asked[block].add(number)
    c, names = ANSWERS.c, sorted(asked)
    recorded = select(c.id, c.problem, c.first, c.rows, c.numbers)
    recorded = recorded.with_for_update(read=True) if keep else recorded
    for start in range(0, len(names), _IDS_AT_ONCE):
        these = c.id.in_(names[start : start + _IDS_AT_ONCE])
        for row in connection.execute(recorded.where(these)):
            there = asked[row.id]
            mine = (
                there.intersection(numbers_of(row).tolist()) if row.numbers else _within(row, there)
            )
            for number in mine:
                yield row.problem, row_id(row.id, number)


def _within(row: Any, numbers: set[int]) -> list[int]:
    return [one for one in numbers if row.first <= one <= _end(row)]


def _wanted(question: RecordQuery) -> Select[*tuple[Any, ...]]:
    c = ANSWERS.c
    wanted = select(ANSWERS).where(c.problem == question.problem)
    if question.since is not None:
        wanted = wanted.where(c.at >= question.since)
    if question.until is not None:
        wanted = wanted.where(c.at < question.until)
    if question.with_outcome and question.newest is None:
        late = OUTCOMES.c.prediction_id
        said = select(late).where(late > c.id.concat("-"), late < c.id.concat("."))
        wanted = wanted.where(said.exists())
    return wanted.order_by(c.at, c.id, c.first, c.version)


def _streamed(
    connection: Connection, wanted: Select[*tuple[Any, ...]], at_once: int
) -> Iterator[_Blocks]:
    """About so many rows at once; blocks that have rows in common stay together."""
    some: _Blocks = []
    rows = 0
    with connection.execute(wanted, execution_options={"yield_per": at_once}) as found:
        for turn in _turns(found):
            some += turn
            rows += sum(one.rows for one in turn)
            if rows >= at_once:
                yield some
                some, rows = [], 0
    yield some


def _newest(connection: Connection, question: RecordQuery, at_once: int) -> _Blocks:
    """Enough blocks for so many rows; each has one at least."""
    c = ANSWERS.c
    latest = _wanted(question).order_by(None).order_by(c.at.desc(), c.id.desc(), c.version.desc())
    some: _Blocks = []
    rows, missing = 0, question.newest or 0
    options = {"yield_per": min(at_once, max(missing, 1))}
    with connection.execute(latest.limit(missing), execution_options=options) as found:
        for _, turn in groupby(found, _turn_of):
            if rows >= missing:
                break
            mine = [*turn]
            some += mine
            rows += sum(one.rows for one in mine)
    return _in_order(some)


def _latest_known(connection: Connection, question: RecordQuery) -> Iterator[JoinedRecord]:
    """The latest outcomes of a problem, whatever times are asked for: to walk past all that lie
    outside of them would take longer in a larger table."""
    late = OUTCOMES.c
    known = select(late.prediction_id, late.actual, late.known_at)
    known = known.where(late.problem == question.problem).order_by(late.prediction_id.desc())
    outcomes = _by_prediction(connection.execute(known.limit(question.newest)))
    ids = [*dict.fromkeys(id_parts(one)[0] for one in outcomes)]
    blocks: _Blocks = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        these = ANSWERS.c.id.in_(ids[start : start + _IDS_AT_ONCE])
        blocks += filter(question.spans, connection.execute(select(ANSWERS).where(these)))
    yield from _records_of(_in_order(blocks), outcomes, question)


def _in_order(blocks: _Blocks) -> _Blocks:
    return sorted(blocks, key=attrgetter("at", "id", "first", "version"))


def _turns(blocks: Iterable[Any]) -> Iterator[_Blocks]:
    """Those that may have rows in common, in order; a whole table may be scored in one turn, in
    thousands of blocks that have none."""
    turn: _Blocks = []
    last = -1
    for block in blocks:
        if turn and (_turn_of(block) != _turn_of(turn[0]) or block.first > last):
            yield turn
            turn, last = [], -1
        turn.append(block)
        last = max(last, int(numbers_of(block).max()) if block.numbers else _end(block))
    if turn:
        yield turn


def _end(block: Any) -> int:
    return int(block.first + block.rows - 1)


def _joined(
    connection: Connection, blocks: _Blocks, question: RecordQuery
) -> Iterator[JoinedRecord]:
    ids = [*{block.id: None for block in blocks}]
    kind = connection.dialect.name
    names = json.dumps(ids) if kind == SQLITE else ids
    found = connection.exec_driver_sql(_SAID_OF_IN[kind], (names,)) if ids else ()
    yield from _records_of(blocks, _by_prediction(found), question)


def _by_prediction(rows: Iterable[Any]) -> dict[str, Outcome]:
    return {row.prediction_id: Outcome(*row) for row in rows}


def _records_of(
    blocks: _Blocks, outcomes: Mapping[str, Outcome], question: RecordQuery
) -> Iterator[JoinedRecord]:
    for turn in _turns(blocks):
        for record in _of_turn(turn, with_rows=question.with_rows):
            outcome = outcomes.get(record.id)
            if outcome is not None or not question.with_outcome:
                yield JoinedRecord(record, outcome)


def _of_turn(turn: _Blocks, *, with_rows: bool) -> Iterable[Record]:
    """By row, then by version: each block is a part of the rows."""
    if len(turn) == 1 and turn[0].rows == 1:
        return [record_of(turn[0], with_rows=with_rows)]
    blocks = [block_of(one, with_rows=with_rows) for one in turn]
    if len(blocks) == 1:
        return blocks[0].records()
    numbered = (
        (number, block.version, record)
        for block in blocks
        for number, record in zip(block.numbers.tolist(), block.records(), strict=True)
    )
    return [record for *_, record in sorted(numbered, key=itemgetter(0, 1))]
