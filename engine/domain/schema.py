"""A table's columns as the caller names them, and the one way from rows to numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

Row = Mapping[str, Any]
"""Column name to a number, the name of a category, or None; what may be missing may be absent."""
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

LONGEST_CATEGORY = 200


def body_type(name: str, fields: Mapping[str, Any]) -> Any:
    """A strict TypedDict: no unknown field, no NaN, no `"3"` and no `true` for a number."""
    make: Any = TypedDict
    body = make(name, dict(fields))
    body.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return body


def _whole(value: float) -> float:
    if value % 1:
        raise ValueError("must be a whole number")
    return value


WHOLE = AfterValidator(_whole)
"""Goes last in an annotation; `multiple_of=1` is for the document, it lets 3.0000000001 pass."""


@dataclass(frozen=True)
class Number:
    """One numeric feature: its unit and the bounds outside of which a value is a mistake."""

    name: str
    unit: str
    description: str
    low: float
    high: float
    example: float
    is_whole: bool = False
    may_be_missing: bool = False

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    @property
    def about(self) -> str:
        return f"{self.description} Unit: {self.unit}."

    @property
    def annotation(self) -> Any:
        """The type pydantic validates a value of this column with."""
        about = Field(
            ge=self.low,
            le=self.high,
            description=self.about,
            examples=[self.example],
            multiple_of=1 if self.is_whole else None,
        )
        return Annotated[float, about, WHOLE] if self.is_whole else Annotated[float, about]

    def code(self, value: Any) -> float:
        return math.nan if value is None else value


@dataclass(frozen=True)
class Category:
    """One feature that is one of some names; another name is answered as if it were missing."""

    name: str
    description: str
    categories: tuple[str, ...]
    example: str
    may_be_missing: bool = False

    unit = "category"
    is_whole = True
    low = 0.0

    @property
    def high(self) -> float:
        return float(len(self.categories) - 1)

    @property
    def annotation(self) -> Any:
        return Annotated[
            str,
            Field(max_length=LONGEST_CATEGORY, description=self.about, examples=[self.example]),
        ]

    @property
    def about(self) -> str:
        return f"{self.description} Known: {', '.join(self.categories)}. Unit: category."

    def code(self, value: Any) -> float:
        return self._codes.get(value, math.nan)

    def knows(self, value: Any) -> bool:
        return value is None or value in self._codes

    @cached_property
    def _codes(self) -> Mapping[Any, float]:
        return {name: float(number) for number, name in enumerate(self.categories)}


Column = Number | Category

POSITIVE, REAL, BINARY = "positive", "real", "binary"
"""A quantity that is judged by its ratio to the truth, one that is judged by its distance, and an
event that happens (1) or not (0) and is predicted by its probability."""


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
    kind: str = POSITIVE
    labels: tuple[str, str] | None = None


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

    def encode(self, rows: Sequence[Row]) -> Matrix:
        """Rows to a float64 matrix (rows x columns); training and serving both come through here.

        A category is its number in the declared order; what is missing, or a category that is not
        declared, is NaN. Raises KeyError when a row lacks a column that may not be missing: rows
        are validated before they are encoded.
        """
        flat: list[Any]
        if self._is_plain:
            names = self.names
            flat = [row[name] for row in rows for name in names]
        else:
            flat = [
                column.code(row.get(column.name) if column.may_be_missing else row[column.name])
                for row in rows
                for column in self.columns
            ]
        return np.array(flat, dtype=np.float64).reshape(len(rows), len(self.columns))

    def warnings(self, rows: Sequence[Row]) -> list[list[str]]:
        """For each row, the categories that are not declared."""
        if not self._categories:
            return [[] for _ in rows]
        return [
            [
                f"{column.name} {row[column.name]!r} is not a known category, taken as missing: "
                "trust the answer less"
                for column in self._categories
                if not column.knows(row.get(column.name))
            ]
            for row in rows
        ]

    @cached_property
    def _categories(self) -> tuple[Category, ...]:
        return tuple(column for column in self.columns if isinstance(column, Category))

    @cached_property
    def _is_plain(self) -> bool:
        """Whether every row is numbers, all of them there."""
        return not self._categories and not any(c.may_be_missing for c in self.columns)


def _field(column: Column) -> Any:
    if not column.may_be_missing:
        return column.annotation
    about = Field(description=column.about, examples=[column.example])
    return NotRequired[Annotated[column.annotation | None, about]]
