"""Bounds that hold at every look: asymptotic confidence sequences for means, ratios and medians.

A bound that is computed again and again from n units, n growing, is wrong at any of these looks
with probability at most alpha. For a standard normal walk S with drift of the wrong sign, the
mixture of exp(a S - a^2 n / 2) over a half-normal a is a supermartingale. By Ville's inequality it
reaches 1 / alpha with probability at most alpha, and it has where S / sqrt(n) >= `reach`. Strong
approximation carries this to means of any distribution with a variance, from a burn-in on.

Sources: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52 (2024), arXiv:2103.06476, Theorem 2.2 for
two sides and for the choice of the mixture; Robbins, "Statistical methods related to the law of the
iterated logarithm", Ann. Math. Statist. 41 (1970), for the half-normal mixture.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.domain.judgement import fieller
from engine.domain.schema import Vector

FEWEST = 50
"""With fewer units in a group no bound is given: the burn-in, and enough by simulation."""
_TIGHTEST = 500
"""Units at which the mixture makes bounds tightest; elsewhere they hold just the same."""
_FARTHEST = 1e9


@dataclass(frozen=True)
class Difference:
    """What was measured, and the bounds of what is true."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Means:
    """The means over units of the champion's and the variant's quantity, and how sure they are.

    n: the number of units that would leave this much doubt in pairs; for two groups half the
    harmonic mean of their sizes.
    """

    old: float
    new: float
    old_variance: float
    new_variance: float
    covariance: float
    n: float

    def variance(self, kept: float) -> float:
        """Of the difference kept * old - new."""
        both = self.old_variance * kept**2 + self.new_variance - 2 * self.covariance * kept
        return max(both, 0.0)


@dataclass(frozen=True)
class Spread:
    """Variances of one unit's quantity, the champion's and the variant's, and their covariance."""

    old: float
    new: float
    covariance: float

    @property
    def difference(self) -> float:
        return self.old + self.new - 2 * self.covariance


NO_SPREAD = Spread(0.0, 0.0, 0.0)


def reach(n: float, alpha: float) -> float:
    """How many standard errors the mean of n units may lie to one side, at any look.

    The bound Phi(z) >= 1 - exp(-z^2 / 2) / 2 makes the mixture's crossing a closed formula.
    """
    tail = -2 * math.log(2 * alpha)
    u = n * (tail + math.log(tail) + 1) / _TIGHTEST
    return math.sqrt(2 * (1 + 1 / u) * math.log(0.5 + math.sqrt(u + 1) / (2 * alpha)))


def paired(old: Vector, new: Vector, least: Spread = NO_SPREAD) -> Means | None:
    """Of both quantities of the same units, (n,) each; None when they are too few.

    The `least` spread takes the place of what was seen where the difference varied less.
    """
    n = len(old)
    if n < FEWEST:
        return None
    (v0, c), (_, v1) = np.cov(old, new).tolist()
    spread = max(Spread(v0, v1, c), least, key=lambda one: one.difference)
    v0, v1, c = (part / n for part in (spread.old, spread.new, spread.covariance))
    return Means(float(old.mean()), float(new.mean()), v0, v1, c, n)


def apart(old: Vector, new: Vector, least: Spread = NO_SPREAD) -> Means | None:
    """Of two groups, (m,) and (n,); None when either is too small. None varies less than `least`.

    No group is taken to vary less than both together do: in a skewed quantity the small group that
    happens to lack large values has a low mean and a low variance, and would seem surely lower.
    """
    m, n = len(old), len(new)
    if min(m, n) < FEWEST:
        return None
    v0, v1 = max(float(old.var(ddof=1)), least.old), max(float(new.var(ddof=1)), least.new)
    both = (m * v0 + n * v1) / (m + n)
    v0, v1 = max(v0, both) / m, max(v1, both) / n
    return Means(float(old.mean()), float(new.mean()), v0, v1, 0.0, m * n / (m + n))


def mean(quantity: Vector, alpha: float, *, is_share: bool) -> Difference | None:
    """The mean of n units; each bound is wrong with probability alpha."""
    means = paired(np.zeros_like(quantity), quantity)
    return difference(means, alpha, is_share=is_share)


def difference(means: Means | None, alpha: float, *, is_share: bool) -> Difference | None:
    """How much larger the variant's mean is; each bound is wrong with probability alpha.

    A share needs doubt where all units agree: 60 hits in 60 are no proof of never a miss. The
    second term is what the variance lacks in the tail of a binomial.
    """
    if means is None:
        return None
    z = reach(means.n, alpha)
    tail = (z / means.n) ** 2 / 2 if is_share else 0.0
    half = z * math.sqrt(means.variance(1.0) + tail)
    estimate = means.new - means.old
    return Difference(estimate, estimate - half, estimate + half)


def improvement(means: Means | None, below: float, above: float) -> Difference | None:
    """Share by which the variant's mean is lower; None when the champion's may be 0.

    The lower bound is wrong with probability `below`, the upper with `above`: each is the share s
    for which (1 - s) * old - new just may have mean 0 (Fieller, JRSS B 16 (1954)).
    """
    if means is None:
        return None
    estimate = 1 - means.new / means.old if means.old else 0.0
    low, high = (_ratio_bounds(means, reach(means.n, level)) for level in (below, above))
    if low is None or high is None:
        return None
    return Difference(estimate, 1 - low[1], 1 - high[0])


def _ratio_bounds(means: Means, z: float) -> tuple[float, float] | None:
    """Of new / old at z standard errors; None when old may be 0."""
    return fieller(
        means.old,
        means.new,
        old_variance=means.old_variance,
        new_variance=means.new_variance,
        covariance=means.covariance,
        squared_errors=z**2,
    )


def times_longer(means: Means, gap: float, variance: float, *, alpha: float) -> float | None:
    """How many times as many units it would take to show a gap of this variance to be positive,
    were it truly what it is now; None when it is not positive, or hardly is."""
    n = means.n
    while 0 < gap < reach(n, alpha) * math.sqrt(variance * means.n / n) and n < _FARTHEST:
        n *= 1.05
    return n / means.n if gap > 0 and n < _FARTHEST else None


def ratio_of_medians(old: Vector, new: Vector, alpha: float) -> Difference | None:
    """How many times as large the variant's median is, of two groups of units, (m,) and (n,).

    Each bound is wrong with probability alpha, whatever the distributions: the number of units
    below a median is a walk of fair coins, to which `reach` applies without approximation
    (Howard and Ramdas, "Sequential estimation of quantiles", Bernoulli 28 (2022)).
    """
    if min(len(old), len(new)) < FEWEST:
        return None
    (old_low, old_mid, old_high), (new_low, new_mid, new_high) = (
        _median_bounds(group, alpha / 2) for group in (old, new)
    )
    return Difference(new_mid / old_mid, new_low / old_high, new_high / old_low)


def _median_bounds(group: Vector, alpha: float) -> tuple[float, float, float]:
    """Lower bound, median and upper bound; FEWEST units have these ranks for any alpha > 1e-8."""
    n = len(group)
    ranked = np.sort(group)
    rank = math.floor(n / 2 - reach(n, alpha) * math.sqrt(n) / 2)
    return float(ranked[rank]), float(np.median(group)), float(ranked[n - 1 - rank])
