"""Prediction intervals that cover: a learned distribution, calibrated on held-out rows.

A model says three things of a row, on the scale of its target (the logarithm of a positive
quantity): where the target lies (`location`), how far off that may be (`spread`), and how the
standardised residual is distributed for rows like it (`shape`, the probability that it is at most
each of a few thresholds). From these follows a conditional distribution, and from that the rank of
any target value. Held-out rows say which ranks really occur; an interval runs between two of those.
That last step alone carries the guarantee: on exchangeable rows an interval at confidence c covers
with probability at least c and at most c + 2 / (n + 1) with n calibration rows (no ties), however
wrong the learned distribution is. Rows that come in groups, or that drift with time, are not
exchangeable: there coverage is measured, not promised.

Sources: Chernozhukov, Wuethrich and Zhu, "Distributional conformal prediction", PNAS 118 (2021),
section 2, here with the two tails calibrated apart and calibration rows kept apart from those
fitted on; the shape is a quantile regression forest, Meinshausen, JMLR 7 (2006), section 3.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from engine.domain.errors import UnsupportedConfidence
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector

LOWEST_CONFIDENCE = 0.5
HIGHEST_CONFIDENCE = 0.99
DEFAULT_CONFIDENCE = 0.9
_OUTER_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Confidence levels at which the reach of the held-out rows' intervals is stored."""

_MARGINAL_WEIGHT = 0.02
"""Share of the distribution over all rows mixed into each row's own, so that it always increases
between two thresholds and every rank has one residual."""

_MEAN, _MEDIAN, _LOCATION = "mean", "median", "location"
POINTS = (_MEDIAN, _MEAN, _LOCATION)
"""What a point prediction may be: the median or the mean of a row's distribution, or its location,
which is the mean of the target's logarithm where that is the scale."""
_LARGEST_LOG = 700.0
"""Beyond these logarithms, numbers are infinite or 0."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of n rows: location (n,), spread (n,), shape (n, thresholds).

    A model of an event says a score (n,), the higher the likelier; it stands in `location`, and
    shape has no columns.
    """

    location: Vector
    spread: Vector
    shape: Matrix

    @classmethod
    def of(cls, scale: Matrix, shape: Matrix | None = None) -> "Outputs":
        """From a graph's own outputs: `scale` (n, 1 or 2), and `shape` where there is one."""
        if shape is None:
            shape = np.empty((len(scale), 0))
        return cls(scale[:, 0], scale[:, -1], shape)


@dataclass(frozen=True, eq=False)
class Distribution:
    """Turns a row's outputs into ranks of residuals, and ranks back into residuals.

    thresholds: (t,) ascending, standardised residuals at which the shape is known. marginal: (t,)
    ascending, share of all rows at or below each threshold, inside (0, 1). floor: the smallest
    spread that is used; smaller ones are raised to it. lowest, highest: targets that were seen, on
    the scale; an expected value ignores what lies beyond them. is_log: whether the scale is the
    target's logarithm, and not the target itself. point: which of POINTS is predicted.

    Ranks are log-odds. Between thresholds the residual is a straight line in the rank; beyond the
    first and the last it goes on with the slope of the marginal distribution there.
    """

    thresholds: Vector
    marginal: Vector
    floor: float
    lowest: float
    highest: float
    is_log: bool = True
    point: str = _MEAN

    def scaled(self, target: Vector) -> Vector:
        return scaled(target, self.is_log)

    def unscaled(self, values: Vector) -> Vector:
        if not self.is_log:
            return values
        return np.asarray(np.exp(_within(values, -_LARGEST_LOG, _LARGEST_LOG)))

    def values(self, outputs: Outputs) -> Vector:
        """Point predictions in the target's unit, (n,)."""
        if self.point == _MEAN:
            return self.mean(outputs)
        if self.point == _MEDIAN:
            return self.unscaled(self.quantiles(outputs, _EVEN_ODDS)[:, 0])
        return self.unscaled(outputs.location)

    def ranks(self, outputs: Outputs, scaled_target: Vector) -> Vector:
        """The rank of each row's target, (n,)."""
        residual = (scaled_target - outputs.location) / self._spread(outputs)
        known = self._row_ranks(outputs)
        right = np.clip(np.searchsorted(self._knots, residual), 1, len(self._knots) - 1)
        row = np.arange(len(residual))
        low, high = known[right - 1, row], known[right, row]
        share = (residual - self._knots[right - 1]) / self._gaps[right - 1]
        return np.asarray(low + share * (high - low))

    def quantiles(self, outputs: Outputs, ranks: Vector) -> Matrix:
        """The target, on the scale, at k ranks of every row's distribution, (n, k)."""
        known, ranks = self._row_ranks(outputs), ranks[:, None]
        left = np.add.reduce(known[1:-1, None] < ranks, axis=0, dtype=np.intp)
        place = left * known.shape[1] + np.arange(known.shape[1])
        low, high = known.take(place), known[1:].take(place)
        share = (ranks - low) / (high - low)
        residual = self._knots.take(left) + share * self._gaps.take(left)
        return np.asarray(outputs.location + residual * self._spread(outputs)).T

    def mean(self, outputs: Outputs) -> Vector:
        """The expected target, in its unit, of every row's distribution, (n,).

        The trapezoid rule over the knots, summed by parts: it needs the shape, not its steps.
        """
        places = outputs.location[:, None] + self._spread(outputs)[:, None] * self._knots
        targets = self.unscaled(_within(places, self.lowest, self.highest))
        falls = (outputs.shape * (targets[:, :-2] - targets[:, 2:])).sum(axis=1)
        return np.asarray((falls + targets[:, -2] + targets[:, -1]) / 2)

    def _spread(self, outputs: Outputs) -> Vector:
        return np.maximum(outputs.spread, self.floor)

    def _row_ranks(self, outputs: Outputs) -> Matrix:
        """The ranks of the knots in each row's distribution, (t + 2, n): what is asked of them is
        asked of one knot of all rows at once."""
        shape = np.ascontiguousarray(outputs.shape.T)
        inner = _log_odds(shape * (1 - _MARGINAL_WEIGHT) + self._mixed_in)
        ranks = np.empty((len(inner) + 2, inner.shape[1]))
        ranks[1:-1] = inner
        ranks[0] = inner[0] - self._steps[0]
        ranks[-1] = inner[-1] + self._steps[-1]
        return ranks

    @cached_property
    def _mixed_in(self) -> Vector:
        return np.asarray(_MARGINAL_WEIGHT * self.marginal[:, None])

    @cached_property
    def _steps(self) -> Vector:
        return np.diff(_log_odds(self.marginal))

    @cached_property
    def _knots(self) -> Vector:
        """The thresholds and one more beyond each end, (t + 2,)."""
        first, last = np.diff(self.thresholds)[[0, -1]]
        ends = self.thresholds[0] - first, self.thresholds[-1] + last
        return np.concatenate((ends[:1], self.thresholds, ends[1:]))

    @cached_property
    def _gaps(self) -> Vector:
        return np.diff(self._knots)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out rows say.

    held_out: (n,) ascending, the ranks that really occurred.
    targets: (n,) ascending, the targets themselves.
    outer: (levels, 3) a level of confidence, ascending, and between which bounds the held-out rows'
    own intervals lie, but for (1 - level) / 2 of them on each side.
    doubt: how often rows held out like these may leave intervals that cover less than they claim.
    On average they never do, which is 1; few rows that must hold at once are taken with less.
    """

    distribution: Distribution
    held_out: Vector
    targets: Vector
    outer: Matrix
    doubt: float = 1.0

    @classmethod
    def fitted(
        cls, distribution: Distribution, outputs: Outputs, target: Vector, *, doubt: float = 1.0
    ) -> "Calibration":
        """From rows that no estimator has seen: the model's outputs, and their targets."""
        ranks = distribution.ranks(outputs, distribution.scaled(target))
        calibration = cls(distribution, np.sort(ranks), np.sort(target), np.empty((0, 3)), doubt)
        highest = calibration.highest_confidence
        levels = [*(level for level in _OUTER_LEVELS if level < highest), highest]
        outer = [calibration._outer(outputs, level) for level in levels]
        return replace(calibration, outer=np.array(outer))

    def refitted(self, outputs: Outputs, target: Vector, doubt: float = 1.0) -> "Calibration":
        """The same distribution, made honest by other rows."""
        return Calibration.fitted(self.distribution, outputs, target, doubt=doubt)

    @property
    def rows(self) -> int:
        return len(self.held_out)

    @property
    def highest_confidence(self) -> float:
        """The highest level this many calibration rows can vouch for."""
        return min(HIGHEST_CONFIDENCE, 1 - 2 / (len(self.held_out) + 1))

    def predict(self, outputs: Outputs, confidence: float) -> tuple[Vector, Interval]:
        """Point predictions (n,) and bounds around them, in the target's unit.

        Bounds never cross and are nested over confidence. A point does not depend on the level: a
        bound that it lies beyond is moved to it, which makes the interval cover no less.
        Raises UnsupportedConfidence when the calibration rows are too few for the level.
        """
        below, above = self._tails(confidence)
        ends = self.distribution.quantiles(outputs, self.held_out[[below, above]])
        bounds, values = self.distribution.unscaled(ends), self.values(outputs)
        lower, upper = np.minimum(bounds[:, 0], values), np.maximum(bounds[:, 1], values)
        return values, Interval(lower, upper, confidence)

    def values(self, outputs: Outputs) -> Vector:
        return self.distribution.values(outputs)

    def interval(self, outputs: Outputs, confidence: float) -> Interval:
        return self.predict(outputs, confidence)[1]

    def widest(self, outputs: Outputs, confidence: float) -> Interval:
        """Bounds when the features are not known, and `outputs` are of a stand-in.

        They hold the stand-in's own interval; all that lies between two held-out targets, which
        are exchangeable with the new one, so that they cover over all rows; and what nearly all
        rows' own intervals hold, so that unusual rows are covered, too: they are wider than those.
        Raises UnsupportedConfidence likewise.
        """
        own = self.interval(outputs, confidence)
        below, above = self.targets[list(self._tails(confidence))]
        level = np.searchsorted(self.outer[:-1, 0], confidence - 1e-9)
        low, high = self.outer[level, 1:]
        lower = np.minimum(own.lower, min(below, low))
        return Interval(lower, np.maximum(own.upper, max(above, high)), confidence)

    def _outer(self, outputs: Outputs, level: float) -> tuple[float, float, float]:
        own, tail = self.interval(outputs, level), (1 - level) / 2
        ends = np.quantile(own.lower, tail), np.quantile(own.upper, 1 - tail)
        return level, float(ends[0]), float(ends[1])

    def _tails(self, confidence: float) -> tuple[int, int]:
        if not LOWEST_CONFIDENCE <= confidence <= self.highest_confidence:
            raise UnsupportedConfidence(
                f"confidence {confidence:g} is outside {LOWEST_CONFIDENCE:g} to "
                f"{self.highest_confidence:.4g}, the range of {len(self.held_out)} calibration rows"
            )
        return tail_ranks(len(self.held_out), _beyond_doubt(self.rows, confidence, self.doubt))


_EVEN_ODDS = np.zeros(1)
"""The rank of the median."""


def _within(values: Vector, low: float, high: float) -> Vector:
    """What `clip` does, in less time."""
    return np.asarray(np.minimum(np.maximum(values, low), high))


def scaled(target: Vector, is_log: bool) -> Vector:
    return np.asarray(np.log(target)) if is_log else target


@lru_cache(maxsize=1_000)
def _beyond_doubt(n: int, confidence: float, doubt: float) -> float:
    """The level at which n held-out rows leave intervals that cover less than `confidence` with
    probability at most `doubt`, or the highest that they have.

    Coverage given the rows is beta distributed; it is at most c as often as at least k of n
    binomial trials succeed, where k / (n + 1) is that level (Vovk, "Conditional validity of
    inductive conformal predictors", ACML 2012, proposition 2a).
    """
    if doubt >= 1:
        return confidence
    k, term = n, n * math.log(confidence)
    total = math.exp(term)
    while total <= doubt and k > confidence * (n + 1):
        term += math.log(k / (n - k + 1)) + math.log((1 - confidence) / confidence)
        total += math.exp(term)
        k -= 1
    return max(confidence, min(k + 1, n - 1) / (n + 1))


def tail_ranks(n: int, confidence: float) -> tuple[int, int]:
    """Indices into n sorted ranks that leave at most (1 - confidence) / 2 out on each side."""
    tail = (1 - confidence) / 2
    above = math.ceil((n + 1) * (1 - tail) - 1e-9)
    return n - above, above - 1


def _log_odds(share: Vector) -> Vector:
    return np.asarray(np.log(share / (1 - share)))
