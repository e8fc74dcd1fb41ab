"""A table's columns as the caller names them, and the one way from rows to numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from engine.domain import cells

Row = Mapping[str, Any]
"""Column name to a number, the name of a category, or None; what may be missing may be absent."""
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

LONGEST_CATEGORY = 200
LARGEST = 1e30
"""Numbers beyond are mistakes: trees compare in float32."""


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
    """One numeric feature: its unit and the bounds outside of which a value is a mistake.

    `warns_of_gap`: a gap is answered, with a warning, because there was none in the table.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    example: float
    is_whole: bool = False
    may_be_missing: bool = False
    warns_of_gap: bool = False

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

    @property
    def tolerant_annotation(self) -> Any:
        """The same for a value as a table may write it."""
        number = Annotated[float, Field(ge=self.low, le=self.high)]
        text = Annotated[str, Field(pattern=cells.NUMBER_AS_TEXT)]
        read = BeforeValidator(self.read, json_schema_input_type=number | text | bool | None)
        about = Field(description=self.about, examples=[self.example])
        return Annotated[number | None, about, read]

    def read(self, cell: Any) -> float | None:
        """The number a cell says, None where it says nothing; raises ValueError."""
        return cells.number(cell)

    def holds(self, value: Any) -> bool:
        """Whether a recorded value has this column's type."""
        return not isinstance(value, str)

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
    warns_of_gap: bool = False

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

    @property
    def tolerant_annotation(self) -> Any:
        """The same for a value as a table may write it."""
        text = Annotated[str, Field(max_length=LONGEST_CATEGORY)]
        number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
        read = BeforeValidator(self.read, json_schema_input_type=text | number | bool | None)
        about = Field(description=self.about, examples=[self.example])
        return Annotated[text | None, about, read]

    def read(self, cell: Any) -> str | None:
        """The category a cell names, None where it says nothing; another text as it is.

        Raises ValueError for what is neither a text nor a number nor a boolean.
        """
        if isinstance(cell, list | dict):
            raise ValueError("must be a text, a number or a boolean")
        name = cells.name(cell)
        if name is None or name in self._codes:
            return name
        return self._booleans.get(name.lower(), name)

    def holds(self, value: Any) -> bool:
        """Whether a recorded value has this column's type."""
        return isinstance(value, str)

    def code(self, value: Any) -> float:
        known = self._codes.get(value)
        return self._codes.get(self.read(value), math.nan) if known is None else known

    def knows(self, value: Any) -> bool:
        return not math.isnan(self.code(value)) or self.read(value) is None

    @cached_property
    def _codes(self) -> Mapping[Any, float]:
        return {name: float(number) for number, name in enumerate(self.categories)}

    @cached_property
    def _booleans(self) -> Mapping[str, str]:
        """What else true and false may be called, where some categories are called so: pandas
        writes `True`, R `TRUE`, JSON `true`, and many a program 1."""
        said = {name.lower(): name for name in self.categories}
        words: dict[str, str] = {word: said[word] for word in ("true", "false") if word in said}
        if said.keys() - words.keys():
            return words
        digits = (("1", "true"), ("0", "false"))
        return words | {digit: words[word] for digit, word in digits if word in words}


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
        """For each row, the categories that are not declared, and the gaps that are unusual."""
        if not self._categories and not self._full:
            return [[] for _ in rows]
        return [[*self._unknown(row), *self._gaps(row)] for row in rows]

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
        """Columns without any gap in the table they were read off."""
        return tuple(column.name for column in self.columns if column.warns_of_gap)

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
