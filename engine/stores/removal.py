"""Records are removed with what belongs to them: outcomes, and where units are found."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, select, tuple_, update

from engine.domain.record import RecordBlock
from engine.stores.answers import found_rows
from engine.stores.databases import POSTGRESQL
from engine.stores.tables import (
    ANSWERS,
    OUTCOMES,
    PREDICTIONS,
    UNITS,
    block_of,
    row_of,
    unit_key,
    unit_rows,
)

_AT_ONCE = 500
"""Blocks, or records of earlier versions, that one step of erasing changes."""
_IDS_AT_ONCE = 2_000
_KEY = (ANSWERS.c.id, ANSWERS.c.version, ANSWERS.c.variant, ANSWERS.c.first)
_Key = tuple[Any, ...]
_FROM_UNITS = delete(UNITS).where(
    *(column == bindparam(f"its_{name}") for name, column in UNITS.c.items())
)


def forget_blocks(connection: Connection, before: str, at_most: int) -> int:
    """The oldest, at least one; how many rows. Blocks that others hold are passed over."""
    c = ANSWERS.c
    old = select(*_KEY, c.rows).where(c.at < before).order_by(c.at, c.id, c.version)
    old = old.limit(at_most).with_for_update(skip_locked=True)
    keys: list[_Key] = []
    rows = 0
    for *key, count in connection.execute(old):
        if keys and rows + count > at_most:
            break
        keys.append(tuple(key))
        rows += count
    if keys:
        _remove_blocks(connection, keys)
    return rows


def _remove_blocks(connection: Connection, keys: Sequence[_Key]) -> None:
    found = connection.execute(select(ANSWERS).where(_these(keys))).all()
    connection.execute(delete(ANSWERS).where(_these(keys)))
    blocks = [block_of(row, with_rows=False) for row in found]
    _remove_outcomes(connection, {one for block in blocks for one in block.ids()})
    left = {*connection.scalars(select(ANSWERS.c.id).where(ANSWERS.c.id.in_(_ids(keys))))}
    named = [one for one in unit_rows(blocks) if one[-1] not in left]
    if named:
        names = [f"its_{name}" for name in UNITS.c.keys()]  # noqa: SIM118 - columns, not a dict
        connection.execute(_FROM_UNITS, [dict(zip(names, one, strict=True)) for one in named])


def _these(keys: Sequence[_Key]) -> ColumnElement[bool]:
    """By the id alone SQLite would find them: it does not look for several columns at once."""
    return ANSWERS.c.id.in_(_ids(keys)) & tuple_(*_KEY).in_(keys)


def _ids(keys: Iterable[_Key]) -> list[str]:
    return sorted({key[0] for key in keys})


def forget_predictions(connection: Connection, before: str, at_most: int) -> int:
    """The same of what earlier versions wrote."""
    c = PREDICTIONS.c
    old = select(c.id, c.version).where(c.at < before).order_by(c.at, c.id, c.version)
    return _remove_predictions(connection, old.limit(at_most).with_for_update(skip_locked=True))


def erase_predictions(connection: Connection, problem: str, unit: str) -> int | None:
    """Some of the records that earlier versions wrote about a unit; None when there is none left.
    No index finds them."""
    if "\0" in unit and connection.dialect.name == POSTGRESQL:
        return None  # it never took one
    c = PREDICTIONS.c
    theirs = select(c.id, c.version).where(c.problem == problem, c.unit == unit)
    return _remove_predictions(connection, theirs.limit(_AT_ONCE).with_for_update()) or None


def _remove_predictions(connection: Connection, wanted: Select[*tuple[Any, ...]]) -> int:
    c = PREDICTIONS.c
    keys = [(row.id, row.version) for row in connection.execute(wanted)]
    if keys:
        ids = _ids(keys)
        connection.execute(
            delete(PREDICTIONS).where(c.id.in_(ids), tuple_(c.id, c.version).in_(keys))
        )
        _remove_outcomes(connection, ids)
    return len(keys)


def erase_blocks(connection: Connection, problem: str, unit: str) -> int | None:
    """Take a unit's rows out of some of the blocks that it has a part in; how many rows, or None
    when it has a part in none."""
    u, c = UNITS.c, ANSWERS.c
    mine = (u.problem == problem) & (u.unit == unit_key(unit))
    ids = [*connection.scalars(select(u.id).where(mine).limit(_AT_ONCE))]
    if not ids:
        return None
    found = connection.execute(select(ANSWERS).where(c.id.in_(ids)).with_for_update()).all()
    gone: list[RecordBlock] = []
    for row in found:
        block = block_of(row)
        is_theirs = np.array([block.problem == problem and one == unit for one in block.units])
        if is_theirs.any():
            gone.append(block.take(np.flatnonzero(is_theirs)))
            _rewrite(connection, row, block.take(np.flatnonzero(~is_theirs)))
    connection.execute(delete(UNITS).where(mine, u.id.in_(ids)))
    _remove_outcomes(connection, {one for block in gone for one in block.ids()})
    return sum(map(len, gone))


def _rewrite(connection: Connection, row: Any, left: RecordBlock) -> None:
    """Changed in its place: who waits to report an outcome for another row of it finds it still."""
    these = _these([(row.id, row.version, row.variant, row.first)])
    if len(left):
        values = dict(zip(ANSWERS.c.keys(), row_of(left), strict=True))
        connection.execute(update(ANSWERS).where(these).values(values))
    else:
        connection.execute(delete(ANSWERS).where(these))


def _remove_outcomes(connection: Connection, ids: Collection[str]) -> None:
    """Of those of these predictions that nobody's record is left of."""
    gone = sorted({*ids} - {key for _, key in found_rows(connection, ids)})
    c = OUTCOMES.c
    for start in range(0, len(gone), _IDS_AT_ONCE):
        theirs = c.prediction_id.in_(gone[start : start + _IDS_AT_ONCE])
        is_left = select(PREDICTIONS.c.id).where(PREDICTIONS.c.id == c.prediction_id).exists()
        connection.execute(delete(OUTCOMES).where(theirs, ~is_left))
