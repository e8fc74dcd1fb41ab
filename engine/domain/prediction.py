"""Predictions as columns: one array a quantity, however many rows were asked about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.domain.rows import MatrixRows
from engine.domain.schema import Row, Vector

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Interval:
    """Lower and upper bounds, one a row, at a stated confidence."""

    lower: Vector
    upper: Vector
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of n rows, in the target's unit."""

    values: Vector
    interval: Interval
    warnings: list[list[str]]


@dataclass(frozen=True, slots=True)
class Entities:
    """What the caller asks about, in columns of n: of each a row, or a key whose features are
    looked up, or both. No keys where none is named."""

    rows: Sequence[Row | None]
    keys: Sequence[str | None] = ()

    @classmethod
    def named(cls, keys: Sequence[str]) -> "Entities":
        """By keys alone."""
        return cls([None] * len(keys), keys)

    def instances(self) -> "Instances | None":
        """All of them with the rows they came with; None where a row is still to be looked up."""
        if isinstance(self.rows, MatrixRows):
            rows: Sequence[Row] = self.rows
        else:
            rows = [row for row in self.rows if row is not None]
        n = len(self.rows)
        return Instances(rows, self.keys or [None] * n) if len(rows) == n else None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[str | None, Row | None]]:
        """The key and the row of each."""
        return zip(self.keys or [None] * len(self.rows), self.rows, strict=True)


@dataclass(frozen=True, eq=False)
class Instances:
    """Entities whose features are known: n rows, and the keys of those that have one.

    Degraded rows are the problem's fallback, in place of features that could not be looked up.
    """

    rows: Sequence[Row]
    keys: Sequence[str | None]
    is_degraded: bool = False
