"""Where the true probability of a score lies, at a level of confidence.

The one assumption is that the event is no less likely at a higher score. Then of the held-out rows
at or below a score none is likelier than a row of that score, so what bounds their mean probability
from below bounds the row's, and likewise from above. The nearest n^(2/3) rows on each side are
taken: more would be farther away, fewer less sure, and the exponent is that of isotonic
regression's own rate of convergence.

Sources: the bound of one side's rows is Clopper and Pearson's, Biometrika 26 (1934), which holds
for events that are not equally likely, too: Hoeffding, "On the distribution of the number of
successes in independent trials", Ann. Math. Statist. 27 (1956), theorem 4.
"""

import numpy as np
from numpy.typing import NDArray

from engine.domain.schema import Matrix, Vector

_HALVINGS = 25
"""Halvings of the interval: enough for seven digits."""

_Counts = NDArray[np.int64]


def lower_bounds(events: Vector, ends: _Counts, levels: Vector) -> Matrix:
    """Lower bounds of the probability at the scores of some rows, (levels, k).

    `events` (n,) are 0 or 1, by ascending score; `ends` (k,) is how many rows have at most the
    score. A bound at a level is wrong with probability at most (1 - level) / 2.
    """
    total = np.append(0, np.cumsum(events)).astype(np.int64)
    starts = np.maximum(ends - nearest(len(events)), 0)
    seen = np.column_stack((total[ends] - total[starts], ends - starts))
    kinds, kind = np.unique(seen, axis=0, return_inverse=True)
    found = [at_least(kinds[:, 0], kinds[:, 1], (1 - level) / 2) for level in levels]
    return np.array(found)[:, kind]


def nearest(rows: int) -> int:
    return int(max(round(rows ** (2 / 3)), 1))


def at_least(happened: _Counts, rows: _Counts, tail: float) -> Vector:
    """The smallest probability at which at least `happened` events happen with chance `tail`, (k,).

    It solves P(Binomial(rows, p) >= happened) = tail by halving; 0 where nothing happened.
    """
    low, high = np.zeros((2, len(rows)))
    high += 1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_rare = _chance_of(happened, rows, middle) < tail
        low, high = np.where(is_rare, middle, low), np.where(is_rare, high, middle)
    return np.where(happened > 0, low, 0.0)


def _chance_of(happened: _Counts, rows: _Counts, p: Vector) -> Vector:
    """P(Binomial(rows, p) >= happened), (k,); p is inside (0, 1)."""
    number = np.arange(rows.max() + 1)
    factorial = np.append(0.0, np.cumsum(np.log(number[1:])))
    rest = np.maximum(rows[:, None] - number, 0)
    ways = factorial[rows][:, None] - factorial[number] - factorial[rest]
    logs = ways + number * np.log(p)[:, None] + rest * np.log1p(-p)[:, None]
    counted = (number >= happened[:, None]) & (number <= rows[:, None])
    return np.asarray(np.where(counted, np.exp(logs), 0.0).sum(axis=1))
