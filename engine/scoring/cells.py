"""Columns of an Arrow table as the numbers a model is asked about, whole columns at once.

Each cell means what `engine.domain.columns` says, as in a request: plain numbers are compared with
their bounds as arrays, and of everything else each different cell is read once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain import cells
from engine.domain.columns import LONGEST_CATEGORY, ByColumnType, Column
from engine.domain.schema import Vector

_Flags = NDArray[np.bool_]
_PLAIN_NUMBER = r"^-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_GOOD, _MISSING, _UNREADABLE, _TOO_LONG, _UNKNOWN = range(5)
"""What became of a cell."""


@dataclass(frozen=True)
class Cells:
    """A column of n rows: `codes` (n,) as `Schema.encode` has them. `broken` and `warned`: rules
    that rows break, and reasons to trust answers less, each with a flag a row (n,)."""

    codes: Vector
    broken: tuple[tuple[_Flags, str], ...] = ()
    warned: tuple[tuple[_Flags, str], ...] = ()


def cells_of(column: Column, array: Any, *, is_untyped: bool) -> Cells:
    """A column of a record batch; `is_untyped` where the source writes everything as text, so that
    a text that is a number may be one."""
    return _READERS[column.type](column, array, is_untyped)


def _numbers(column: Column, array: Any, is_untyped: bool) -> Cells:
    floats = _as_floats(array)
    if floats is None:
        codes, states = _each_read_once(array, column, is_untyped)
    elif _are_clean(column, floats):
        return Cells(floats)
    else:
        codes, states = floats, np.zeros(len(floats), np.int8)
        states[np.isnan(floats)] = _MISSING
        states[np.isinf(floats)] = _UNREADABLE
    return _judged(column, codes, states)


def _names(column: Column, array: Any, is_untyped: bool) -> Cells:
    codes, states = _each_read_once(array, column, is_untyped)
    return _judged(column, codes, states)


_READERS: ByColumnType[Callable[[Column, Any, bool], Cells]] = ByColumnType(
    number=_numbers, category=_names
)
_MUST_BE = ByColumnType(number="must be a number", category="must be a text, a number or a boolean")


def _are_clean(column: Column, floats: Vector) -> bool:
    """Whether all of them are numbers within the bounds; NaN is within none."""
    if not len(floats):
        return True
    is_within = bool(column.low <= floats.min()) and bool(floats.max() <= column.high)
    return is_within and not (column.is_whole and bool((np.rint(floats) != floats).any()))


def _as_floats(array: Any) -> Vector | None:
    """A column that Arrow reads as Python would (n,), NaN where it is empty; None for others."""
    kind = array.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _plain(array.cast(pa.float64(), safe=False))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    try:
        floats = array.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    is_finite = pc.is_finite(floats)
    return _plain(floats) if pc.all(is_finite, min_count=0).as_py() is not False else None


def _plain(floats: Any) -> Vector:
    filled = floats.fill_null(np.nan) if floats.null_count else floats
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _each_read_once(
    array: Any, column: Column, is_untyped: bool
) -> tuple[Vector, NDArray[np.int8]]:
    """Codes and states (n,), by reading each different cell once."""
    read = partial(_state_of, column, is_untyped=is_untyped)
    if not pa.types.is_dictionary(array.type):
        try:
            array = array.dictionary_encode()
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            found = [read(cell) for cell in array.to_pylist()]
            return _columns(found)
    codes, states = _columns([*map(read, array.dictionary.to_pylist()), read(None)])
    at = array.indices.cast(pa.int64()).fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    return codes[at], states[at]


def _columns(found: list[tuple[float, int]]) -> tuple[Vector, NDArray[np.int8]]:
    codes = np.array([code for code, _ in found], np.float64)
    return codes, np.array([state for _, state in found], np.int8)


def read_cell(column: Column, cell: Any, *, is_untyped: bool) -> Any:
    """What a cell says. Where a file has no types `1.0` names the category 1, as it did when the
    table was trained on: one missing cell makes pandas write 1 so. Raises ValueError."""
    value = column.read(cell)
    if not is_untyped or column.knows(value):
        return value
    try:
        return column.read(cells.number(value))
    except ValueError:
        return value


def _state_of(column: Column, cell: Any, is_untyped: bool) -> tuple[float, int]:
    """The code of a cell, and what became of it."""
    try:
        value = read_cell(column, cell, is_untyped=is_untyped)
    except ValueError:
        return np.nan, _UNREADABLE
    if value is None:
        return np.nan, _MISSING
    if isinstance(value, str) and len(value) > LONGEST_CATEGORY:
        return np.nan, _TOO_LONG
    code = column.code(value)
    return code, _UNKNOWN if np.isnan(code) else _GOOD


def _judged(column: Column, codes: Vector, states: NDArray[np.int8]) -> Cells:
    """Which rows break a rule, and which are answered with a warning."""
    gap = states == _MISSING
    broken = [
        *_beyond(column, codes),
        (states == _UNREADABLE, _MUST_BE[column.type]),
        (states == _TOO_LONG, f"must have at most {LONGEST_CATEGORY} characters"),
    ]
    if not column.may_be_missing:
        broken.append((gap, "must not be missing"))
    warned = [(states == _UNKNOWN, "is not a known category")]
    if column.warns_of_gap:
        warned.append((gap, "is missing, and never was in training"))
    return Cells(codes, _any_of(column, broken), _any_of(column, warned))


def _beyond(column: Column, codes: Vector) -> Iterator[tuple[_Flags, str]]:
    """The first rule that a number breaks; codes of categories break none."""
    is_number = np.isfinite(codes)
    high, low = is_number & (codes > column.high), is_number & (codes < column.low)
    yield high, f"must be at most {column.high:g}"
    yield low, f"must be at least {column.low:g}"
    if column.is_whole:
        parts = np.zeros(len(codes), bool)
        parts[is_number] = codes[is_number] % 1 != 0
        yield parts & ~high & ~low, "must be a whole number"


def _any_of(column: Column, rules: list[tuple[_Flags, str]]) -> tuple[tuple[_Flags, str], ...]:
    return tuple((flags, f"{column.name} {rule}") for flags, rule in rules if flags.any())
