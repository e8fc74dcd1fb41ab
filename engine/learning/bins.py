"""Few edges a feature, made once, that all trees of a model split at.

Every estimator learns from the numbers of bins (codes) instead of values, so that folds and forests
share their thresholds: whoever asks many trees compares a value with each threshold once
(`docs/decisions/0017-trees-that-are-asked-fast.md`). Edges are made from features alone, never from
a target.
"""

from collections.abc import Sequence

import numpy as np

from engine.domain.schema import Matrix, Vector

_MOST_EDGES = 254
"""So 255 bins, which is what scikit-learn's boosted trees tell apart without binning again."""

Edges = Sequence[Vector]
"""Of each feature, ascending. A value of at most edge k, and above edge k - 1, has the code k."""


def edges_of(rows: Matrix) -> Edges:
    """Between all values of a feature where they are few, else at equal shares of the rows
    (n, features)."""
    return [_edges(column[~np.isnan(column)]) for column in rows.T]


def _edges(values: Vector) -> Vector:
    distinct = np.unique(values)
    if len(distinct) <= _MOST_EDGES + 1:
        return _between(distinct[:-1], distinct[1:])
    shares = np.linspace(0, 1, _MOST_EDGES + 2)[1:-1]
    at = np.searchsorted(distinct, np.quantile(values, shares, method="lower"))
    at = np.unique(np.minimum(at, len(distinct) - 2))
    return _between(distinct[at], distinct[at + 1])


def _between(low: Vector, high: Vector) -> Vector:
    """The middle of two values, or the lower of two that have none between them."""
    middle = low / 2 + high / 2
    return np.where((low <= middle) & (middle < high), middle, low)


def coded(rows: Matrix, edges: Edges) -> Matrix:
    """The code of each cell (n, features); NaN stays."""
    codes = np.empty(rows.shape)
    for number, (values, ascending) in enumerate(zip(rows.T, edges, strict=True)):
        places = np.searchsorted(ascending, values)
        codes[:, number] = np.where(np.isnan(values), np.nan, places)
    return codes


def edge_at(feature: int, threshold: float, edges: Edges) -> float:
    """The value that splits as this threshold splits codes: those of at most it go left. Infinite
    where every code does, and only what is missing may not."""
    ascending = edges[feature]
    return float(ascending[int(threshold)]) if threshold < len(ascending) else np.inf
