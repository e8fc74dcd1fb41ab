"""Rows that are kept as one matrix, and some of any rows."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from engine.domain.schema import Matrix, Row

Places = NDArray[np.intp]


class MatrixRows(Sequence[Row]):
    """Rows of nothing but floats: `matrix` (n, columns) in the order of `names`. A row is made a
    dict when somebody asks for it."""

    def __init__(self, names: Sequence[str], matrix: Matrix) -> None:
        self.names = tuple(names)
        self.matrix = matrix

    def __len__(self) -> int:
        return len(self.matrix)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "MatrixRows": ...
    def __getitem__(self, place: int | slice) -> "Row | MatrixRows":
        if isinstance(place, slice):
            return MatrixRows(self.names, self.matrix[place])
        return dict(zip(self.names, self.matrix[place].tolist(), strict=True))

    def __iter__(self) -> Iterator[Row]:
        for numbers in self.matrix.tolist():
            yield dict(zip(self.names, numbers, strict=True))


def some_rows(rows: Sequence[Row], places: Places) -> Sequence[Row]:
    """The rows at these places."""
    if isinstance(rows, MatrixRows):
        return MatrixRows(rows.names, rows.matrix[places])
    return some(rows, places)


def some(items: Sequence[Any], places: Places) -> Sequence[Any]:
    """The items at these places."""
    return [items[place] for place in places.tolist()]
