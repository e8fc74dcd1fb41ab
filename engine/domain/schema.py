"""A table's columns as the caller names them, and the one way from rows to numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

Row = Mapping[str, float]
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def body_type(name: str, fields: Mapping[str, Any]) -> Any:
    """A strict TypedDict: no unknown field, no NaN, no `"3"` and no `true` for a number."""
    make: Any = TypedDict
    body = make(name, dict(fields))
    body.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return body


@dataclass(frozen=True)
class Column:
    """One numeric feature: its unit and the bounds outside of which a value is a mistake."""

    name: str
    unit: str
    description: str
    low: float
    high: float
    example: float
    is_whole: bool = False

    @property
    def annotation(self) -> Any:
        """The type pydantic validates a value of this column with."""
        return Annotated[
            float,
            Field(
                ge=self.low,
                le=self.high,
                description=f"{self.description} Unit: {self.unit}.",
                examples=[self.example],
                multiple_of=1 if self.is_whole else None,
            ),
        ]


@dataclass(frozen=True)
class Target:
    """What is predicted: a positive quantity in `unit`, bounded where a value is a mistake."""

    name: str
    unit: str
    description: str
    low: float
    high: float


@dataclass(frozen=True)
class Schema:
    """The features of a problem, in the order of the matrix's columns."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def example(self) -> dict[str, float]:
        return {column.name: column.example for column in self.columns}

    def row_type(self, name: str) -> Any:
        """A TypedDict called `name`: pydantic validates into plain dicts, in column order."""
        return body_type(name, {column.name: column.annotation for column in self.columns})

    def encode(self, rows: Sequence[Row]) -> Matrix:
        """Rows to a float64 matrix (rows x columns); training and serving both come through here.

        Raises KeyError when a row lacks a column: rows are validated before they are encoded.
        """
        names = self.names
        flat = [row[name] for row in rows for name in names]
        return np.array(flat, dtype=np.float64).reshape(len(rows), len(names))
