"""Rows that came as columns: what a caller's table says, checked column by column.

Whatever is not plainly right is left to the validation of rows, which knows every rule and words
every error: columns have no rules of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.columns import LONGEST_CATEGORY, ByColumnType, Category, Number
from engine.domain.errors import InvalidInput, MalformedBody, Violation
from engine.domain.rows import MatrixRows, Vector
from engine.domain.schema import Schema

Cells = list[Any] | NDArray[Any]
"""One column: plain JSON values, or an array of numbers, masked where a cell is missing."""
SHOWN_VIOLATIONS, LONGEST_NAME = 20, 100
_Coded = tuple[list[Any] | None, Vector]
"""The cells of a column that is no number, and what each cell of a column is for the model."""


@dataclass(frozen=True)
class Table:
    """Columns by name, as they were sent; all of them have `rows` cells."""

    columns: Mapping[str, Cells]
    rows: int

    @classmethod
    def of(cls, columns: Mapping[str, Cells]) -> "Table":
        """Raises InvalidInput where a column is shorter or longer than the first one."""
        lengths = {name: len(cells) for name, cells in columns.items()}
        rows = next(iter(lengths.values()), 0)
        wrong = [
            Violation(
                pointer_to(name),
                name[:LONGEST_NAME],
                None,
                "unequal_length",
                f"Column should have {rows} items, as many as the first one, not {length}",
            )
            for name, length in lengths.items()
            if length != rows
        ]
        if wrong:
            raise InvalidInput(wrong[:SHOWN_VIOLATIONS], len(wrong))
        return cls(columns, rows)

    def some(self, start: int, end: int) -> list[dict[str, Any]]:
        """These rows as they would stand in a body."""
        columns = [
            cells[start:end] if isinstance(cells, list) else cells[start:end].tolist()
            for cells in self.columns.values()
        ]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def pointer_to(column: str) -> str:
    """A JSON Pointer to a column of a body, of a long name only the start."""
    return f"/columns/{column[:LONGEST_NAME].replace('~', '~0').replace('/', '~1')}"


def refuse_repeated(names: Sequence[str]) -> None:
    """Raises MalformedBody for a table that has two columns of one name: no value is guessed."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise MalformedBody(
                f"the column {name[:LONGEST_NAME]!r} appears more than once; send it once"
            )
        seen.add(name)


@dataclass(frozen=True)
class ReplyTable:
    """What is answered: columns of one item a row, warnings by row, and what holds for all rows."""

    columns: Mapping[str, Sequence[Any]]
    warnings: Sequence[Sequence[str]]
    facts: Mapping[str, Any]


def encoded(schema: Schema, table: Table, *, is_tolerant: bool) -> MatrixRows | None:
    """The features of a table, as `schema.encode` makes them of valid rows; None where a column
    needs a closer look. `is_tolerant` is for rows as a table may write them."""
    matrix = np.empty((table.rows, len(schema.columns)))
    texts = {}
    for place, column in enumerate(schema.columns):
        cells = table.columns.get(column.name)
        if cells is None and not column.may_be_missing:
            return None
        found = _CODED[column.type](
            column, [None] * table.rows if cells is None else cells, is_tolerant
        )
        if found is None:
            return None
        named, matrix[:, place] = found
        if named is not None:
            texts[column.name] = named
    return MatrixRows(schema.names, matrix, texts)


def _numbers(column: Number, cells: Cells, is_tolerant: bool) -> _Coded | None:
    vector = _floats(column, cells, is_tolerant)
    if vector is None:
        return None
    gaps = np.isnan(vector)
    if gaps.any() and not column.may_be_missing:
        return None
    if ((vector < column.low) | (vector > column.high)).any():
        return None
    if column.is_whole and ((vector % 1 != 0) & ~gaps).any():
        return None
    return None, np.where(gaps, np.nan, vector)  # the NaN of an array may have a sign


def _floats(column: Number, cells: Cells, is_tolerant: bool) -> Vector | None:
    """NaN is what is missing; a NaN that was sent is not."""
    if not isinstance(cells, list):
        vector: Vector = np.ma.filled(cells.astype(np.float64), np.nan)
        missing = int(np.ma.getmaskarray(cells).sum())
    else:
        types = set(map(type, cells))
        missing = cells.count(None) if type(None) in types else 0
        try:
            if types <= {float, int, type(None)}:
                vector = np.array(cells, np.float64)
            elif is_tolerant:
                vector = np.array([column.read(cell) for cell in cells], np.float64)
            else:
                return None
        except (ValueError, TypeError, OverflowError):
            return None
    is_sent = not is_tolerant and int(np.isnan(vector).sum()) != missing
    return None if is_sent else vector


def _categories(column: Category, cells: Cells, is_tolerant: bool) -> _Coded | None:
    cells = cells if isinstance(cells, list) else cells.tolist()
    types = set(map(type, cells))
    try:
        if types <= {str, type(None)}:
            known = {cell: column.read(cell) if is_tolerant else cell for cell in set(cells)}
            cells = [known[cell] for cell in cells] if is_tolerant else cells
        elif is_tolerant:
            cells = [column.read(cell) for cell in cells]
        else:
            return None
    except (ValueError, TypeError):
        return None
    names = set(cells)
    if None in names and not column.may_be_missing:
        return None
    if any(len(name) > LONGEST_CATEGORY for name in names if name is not None):
        return None
    codes = {name: column.code(name) for name in names}
    return cells, np.array([codes[cell] for cell in cells], np.float64)


_CODED: ByColumnType[Callable[[Any, Cells, bool], _Coded | None]] = ByColumnType(
    number=_numbers, category=_categories
)
