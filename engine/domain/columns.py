"""The columns of a table: how a cell of each type is read, and the number it becomes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from engine.domain import cells

_T = TypeVar("_T")
LONGEST_CATEGORY = 200
LARGEST = 1e30
"""Larger numbers are treated as mistakes: trees compare in float32."""


def _whole(value: float) -> float:
    if value % 1:
        raise ValueError("must be a whole number")
    return value


WHOLE = AfterValidator(_whole)
"""Goes last in an annotation; `multiple_of=1` is for the document, it lets 3.0000000001 pass."""


class ColumnType(StrEnum):
    """What a column's cells are; cards carry it by this name."""

    NUMBER = "number"
    CATEGORY = "category"


@dataclass(frozen=True)
class ByColumnType(Generic[_T]):
    """One entry for each type of column, under its value: a table that lacks one fails type
    checking."""

    number: _T
    category: _T

    def __getitem__(self, kind: ColumnType) -> _T:
        entry: _T = getattr(self, kind.value)
        return entry


@dataclass(frozen=True)
class Number:
    """One numeric feature: its unit and the bounds outside of which a value is a mistake.

    `warns_of_gap`: a missing value is answered with a warning, because the table had none missing.
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
    type: Literal[ColumnType.NUMBER] = ColumnType.NUMBER

    storage = "float64"
    """As Arrow calls it."""

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    def with_example(self, value: Any) -> "Number":
        """With this example, where it is within the bounds."""
        fits = value is not None and self.low <= value <= self.high
        return replace(self, example=float(value)) if fits else self

    def in_order(self, categories: tuple[str, ...]) -> "Number":
        """Numbers have an order of their own."""
        return self

    def unbounded(self) -> "Number":
        """Without the rules that a table does not know: another one may go further."""
        # JSON values know no difference between 3 and 3.0; people do
        example = int(self.example) if self.is_whole else self.example
        return replace(self, low=-LARGEST, high=LARGEST, is_whole=False, example=example)

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

    def knows(self, value: Any) -> bool:
        """Whether training has seen this value; any number counts as seen."""
        return True

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
    type: Literal[ColumnType.CATEGORY] = ColumnType.CATEGORY

    unit = "category"
    storage = "string"
    """As Arrow calls it."""
    is_whole = True
    low = 0.0

    def with_example(self, value: Any) -> "Category":
        """With this example, where it is a known category."""
        return replace(self, example=value) if value and self.knows(value) else self

    def unbounded(self) -> "Category":
        """Another table may have other categories: they are answered with a warning anyway."""
        return self

    def in_order(self, categories: tuple[str, ...]) -> "Category":
        """With its categories in this order, where they are the same ones."""
        same = set(self.categories) == set(categories)
        return replace(self, categories=categories) if same else self

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
