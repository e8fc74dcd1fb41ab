"""The features and the target of a problem, and the one way from rows to numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from engine.domain.columns import Column
from engine.domain.kinds import POSITIVE, TargetKind
from engine.domain.rows import Matrix as Matrix
from engine.domain.rows import MatrixRows
from engine.domain.rows import Row as Row
from engine.domain.rows import Vector as Vector


def body_type(name: str, fields: Mapping[str, Any]) -> Any:
    """A strict TypedDict: no unknown field, no NaN, no `"3"` and no `true` for a number."""
    make: Any = TypedDict
    body = make(name, dict(fields))
    body.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return body


@dataclass(frozen=True)
class Target:
    """What is predicted: a quantity in `unit`, bounded where a value is a mistake, or an event.

    `labels` are what a table calls 0 and 1, where it does not write the numbers.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    kind: TargetKind = POSITIVE
    labels: tuple[str, str] | None = None

    may_be_missing = False
    """A row without it cannot be learned from."""
    is_whole = False


@dataclass(frozen=True)
class Schema:
    """The features of a problem, in the order of the matrix's columns."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def example(self) -> dict[str, Any]:
        return {column.name: column.example for column in self.columns}

    def row_type(self, name: str) -> Any:
        """A TypedDict called `name`: pydantic validates into plain dicts, in column order."""
        return body_type(name, self.fields)

    @property
    def fields(self) -> dict[str, Any]:
        """Column name to the type of its value in a body."""
        return {column.name: _field(column) for column in self.columns}

    @property
    def tolerant_fields(self) -> dict[str, Any]:
        """The same for rows as a table may write them, where anything may be missing."""
        return {c.name: NotRequired[c.tolerant_annotation] for c in self.columns}

    def encode(self, rows: Sequence[Row]) -> Matrix:
        """Rows to a float64 matrix (rows x columns); training and serving both come through here.

        A category is its number in the declared order; what is missing, or a category that is not
        declared, is NaN. Raises KeyError when a row lacks a column that may not be missing: rows
        are validated before they are encoded.
        """
        if isinstance(rows, MatrixRows) and self._is_encoded(rows):
            return rows.matrix
        if self.is_plain:
            return self._encode_plain(rows)
        flat = [
            column.code(row.get(column.name) if column.may_be_missing else row[column.name])
            for row in rows
            for column in self.columns
        ]
        return np.array(flat, dtype=np.float64).reshape(len(rows), len(self.columns))

    def _is_encoded(self, rows: MatrixRows) -> bool:
        """Whether the matrix is what `encode` would make of these rows."""
        return rows.names == self.names and rows.texts.keys() == {c.name for c in self._categories}

    def _encode_plain(self, rows: Sequence[Row]) -> Matrix:
        cells = map(itemgetter(*self.names), rows)
        flat = cells if len(self.columns) == 1 else chain.from_iterable(cells)
        size = len(rows) * len(self.columns)
        return np.fromiter(flat, np.float64, size).reshape(len(rows), len(self.columns))

    def warnings(self, rows: Sequence[Row], matrix: Matrix | None = None) -> list[list[str]]:
        """For each row, the categories that are not declared, and the gaps that are unusual. Where
        there is nothing to say, all rows share one list. `matrix` is what `encode` made of them: a
        row without a NaN has neither."""
        if not self._categories and not self._full:
            return [[]] * len(rows)
        if matrix is None:
            return [self._notes_on(row) for row in rows]
        notes: list[list[str]] = [[]] * len(rows)
        for place in np.flatnonzero(np.isnan(matrix).any(axis=1)).tolist():
            notes[place] = self._notes_on(rows[place])
        return notes

    def _notes_on(self, row: Row) -> list[str]:
        return [*self._unknown(row), *self._gaps(row)]

    def _unknown(self, row: Row) -> Iterator[str]:
        for column in self._categories:
            if not column.knows(row.get(column.name)):
                yield (
                    f"{column.name} {row[column.name]!r} is not a known category, taken as "
                    "missing: trust the answer less"
                )

    def _gaps(self, row: Row) -> Iterator[str]:
        for name in self._full:
            if row.get(name) is None:
                yield f"{name} is missing, and never was in training: trust the answer less"

    @cached_property
    def _full(self) -> tuple[str, ...]:
        """Columns that had no missing value in the table they were inferred from."""
        return tuple(column.name for column in self.columns if column.warns_of_gap)

    @cached_property
    def _categories(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.categories)

    @cached_property
    def is_plain(self) -> bool:
        """Whether every row is numbers, all of them there."""
        return not self._categories and not any(c.may_be_missing for c in self.columns)


def _field(column: Column) -> Any:
    if not column.may_be_missing:
        return column.annotation
    about = Field(description=column.about, examples=[column.example])
    return NotRequired[Annotated[column.annotation | None, about]]
