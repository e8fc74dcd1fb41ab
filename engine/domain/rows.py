"""Rows that are kept as columns, and some of any rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Any]
"""Column name to a number, the name of a category, or None; what may be missing may be absent."""
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Places = NDArray[np.intp]


class MatrixRows(Sequence[Row]):
    """Rows as one `matrix` (n, columns) in the order of `names`, encoded already. A row is made a
    dict when somebody asks for it.

    `texts` are the columns whose cells are no numbers, as they are; every other cell is the float
    in the matrix, or None where that is NaN.
    """

    def __init__(
        self, names: Sequence[str], matrix: Matrix, texts: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        self.names = tuple(names)
        self.matrix = matrix
        self.texts = texts or {}

    @property
    def is_plain(self) -> bool:
        """Whether the matrix says all: nothing but floats, all of them there."""
        return not self.texts and not np.isnan(self.matrix).any()

    def __len__(self) -> int:
        return len(self.matrix)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "MatrixRows": ...
    def __getitem__(self, place: int | slice) -> "Row | MatrixRows":
        if isinstance(place, slice):
            texts = {name: cells[place] for name, cells in self.texts.items()}
            return MatrixRows(self.names, self.matrix[place], texts)
        numbers = zip(self.names, self.matrix[place].tolist(), strict=True)
        row = {name: None if number != number else number for name, number in numbers}
        return row | {name: cells[place] for name, cells in self.texts.items()}

    def __iter__(self) -> Iterator[Row]:
        for cells in zip(*self.columns().values(), strict=True):
            yield dict(zip(self.names, cells, strict=True))

    def columns(self) -> dict[str, Sequence[Any]]:
        """The cells of the rows, by column."""
        return {name: self._cells(name, place) for place, name in enumerate(self.names)}

    def take(self, places: Places) -> "MatrixRows":
        """The rows at these places."""
        texts = {name: some(cells, places) for name, cells in self.texts.items()}
        return MatrixRows(self.names, self.matrix[places], texts)

    def _cells(self, name: str, place: int) -> Sequence[Any]:
        if name in self.texts:
            return self.texts[name]
        column = self.matrix[:, place]
        cells: list[Any] = column.tolist()
        if np.isnan(column).any():
            return [None if cell != cell else cell for cell in cells]
        return cells


def some_rows(rows: Sequence[Row], places: Places) -> Sequence[Row]:
    """The rows at these places."""
    return rows.take(places) if isinstance(rows, MatrixRows) else some(rows, places)


def some(items: Sequence[Any], places: Places) -> Sequence[Any]:
    """The items at these places."""
    return [items[place] for place in places.tolist()]
