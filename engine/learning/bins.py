"""Few edges a feature, made once, that all trees of a model split at.

Every estimator learns from the numbers of bins (codes) instead of values, so that folds and forests
share their thresholds: whoever asks many trees compares a value with each threshold once
(`docs/decisions/0017-trees-that-are-asked-fast.md`). Edges are made from features alone, never from
a target.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from engine.domain.schema import Matrix, Vector

_MOST_EDGES = 254
"""So 255 bins, which is what scikit-learn's boosted trees tell apart without binning again."""

_AT_DISTANCES = 64
"""As many of them at equal distances, the others at shares of the rows."""
_STRETCH = 1.4
"""How much denser than equal shares the others are towards both ends."""

Edges = Sequence[Vector]
"""Of each feature, ascending. A value of at most edge k, and above edge k - 1, has the code k."""


def edges_of(rows: Matrix) -> Edges:
    """Between all values of a feature where they are few; else dense where rows (n, features) are
    many and at both ends, for a few houses larger than all others decide how far off a model is."""
    return [_edges(column[~np.isnan(column)]) for column in rows.T]


def _edges(values: Vector) -> Vector:
    distinct = np.unique(values)
    if len(distinct) <= _MOST_EDGES + 1:
        return _between(distinct[:-1], distinct[1:])
    shares = special.ndtr(_STRETCH * special.ndtri(_inner(0, 1, _MOST_EDGES - _AT_DISTANCES)))
    by_share = np.searchsorted(distinct, np.quantile(values, shares, method="lower"))
    places = _inner(distinct[0], distinct[-1], _AT_DISTANCES)
    by_distance = np.searchsorted(distinct, places, side="right") - 1
    at = np.unique(np.concatenate((by_share, by_distance)).clip(max=len(distinct) - 2))
    return _between(distinct[at], distinct[at + 1])


def _inner(low: float, high: float, number: int) -> Vector:
    """So many numbers at equal distances between two, without them."""
    return np.linspace(low, high, number + 2)[1:-1]


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
