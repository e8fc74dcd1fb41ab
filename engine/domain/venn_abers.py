"""Calibrated probabilities with an interval around each: an inductive Venn-Abers predictor.

Held-out rows, sorted by the model's score, say how often the event happens at each score, by
isotonic regression. A new row is put among them twice, once as if the event happened and once as if
not; of the two probabilities that its own score then gets, one is perfectly calibrated, whatever
the model and the data are, as long as rows are exchangeable. The point prediction merges the two.

They lie close together where there are many held-out rows, closer than anybody knows the true
probability; the interval holds both of them, and the true probability of the score at a level of
confidence (`engine.domain.band`).

Source: Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and without guarantees
of validity", NeurIPS 28 (2015), sections 2 and 4 (the merged probability has the least regret in
log loss); validity: Vovk and Petej, "Venn-Abers predictors", UAI (2014), theorem 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.band import lower_bounds
from engine.domain.conformal import HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE, Outputs
from engine.domain.errors import UnsupportedConfidence
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector

LEVELS = np.array([0.5, 0.8, 0.9, 0.95, 0.99])
"""Levels at which intervals are kept; a confidence between two of them gets the interval of the
higher one."""


@dataclass(frozen=True, eq=False)
class VennAbers:
    """What held-out rows say at each of k ascending scores.

    low, high: (k,) the probability that a row of that score gets as no event, and as one.
    below, above: (levels, k) where the true probability of that score lies, at each of LEVELS.
    rows: how many held-out rows there were.
    """

    scores: Vector
    low: Vector
    high: Vector
    below: Matrix
    above: Matrix
    rows: int

    @classmethod
    def fitted(cls, outputs: Outputs, truth: Vector) -> "VennAbers":
        """From held-out rows: their scores, and whether the event happened (1) or not (0)."""
        order = np.argsort(outputs.location, kind="stable")
        scores, first, number = np.unique(
            outputs.location[order], return_index=True, return_counts=True
        )
        events, ends = truth[order], first + number
        counts, happened = number.astype(np.float64), np.add.reduceat(events, first)
        return cls(
            scores,
            low=1 - _taken_as_event(counts[::-1], (counts - happened)[::-1])[::-1],
            high=_taken_as_event(counts, happened),
            below=lower_bounds(events, ends, LEVELS),
            above=1 - lower_bounds(1 - events[::-1], len(events) - first[::-1], LEVELS)[:, ::-1],
            rows=len(truth),
        )

    def refitted(self, outputs: Outputs, truth: Vector) -> "VennAbers":
        """The same promise from other held-out rows."""
        return VennAbers.fitted(outputs, truth)

    @property
    def highest_confidence(self) -> float:
        return HIGHEST_CONFIDENCE

    def predict(self, outputs: Outputs, confidence: float) -> tuple[Vector, Interval]:
        """Probabilities (n,) and the bounds around them; raises UnsupportedConfidence."""
        return self.values(outputs), self.interval(outputs, confidence)

    def values(self, outputs: Outputs) -> Vector:
        """The probability of the event, (n,): never 0 and never 1."""
        low, high = self.pair(outputs)
        return np.asarray(high / (1 - low + high))

    def interval(self, outputs: Outputs, confidence: float) -> Interval:
        """Bounds of the event's probability, nested over confidence; they hold the point and both
        Venn-Abers probabilities. Raises UnsupportedConfidence outside of 0.5 to 0.99."""
        level = _level(confidence)
        low, high = self.pair(outputs)
        under, over = self._places(outputs)
        lower = np.minimum(low, np.append(0.0, self.below[level])[under])
        upper = np.maximum(high, np.append(self.above[level], 1.0)[over])
        return Interval(lower, upper, confidence)

    def widest(self, outputs: Outputs, confidence: float) -> Interval:
        """What is known of a row whose features are not: anything the model ever says."""
        level, n = _level(confidence), len(outputs.location)
        lower = min(self.low.min(), self.below[level].min())
        upper = max(self.high.max(), self.above[level].max())
        return Interval(np.full(n, lower), np.full(n, upper), confidence)

    def pair(self, outputs: Outputs) -> tuple[Vector, Vector]:
        """Both Venn-Abers probabilities of each row, (n,): as no event, and as one.

        A score between two held-out ones pools with the next above as an event, and with the next
        below as none; beyond the last there is nothing to pool with.
        """
        under, over = self._places(outputs)
        return np.append(0.0, self.low)[under], np.append(self.high, 1.0)[over]

    def _places(self, outputs: Outputs) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """How many held-out scores are at or below each row's, and below it, (n,) each."""
        under = np.searchsorted(self.scores, outputs.location, side="right")
        return under, np.searchsorted(self.scores, outputs.location, side="left")


def _level(confidence: float) -> int:
    if not LOWEST_CONFIDENCE <= confidence <= HIGHEST_CONFIDENCE:
        raise UnsupportedConfidence(
            f"confidence {confidence:g} is outside {LOWEST_CONFIDENCE:g} to {HIGHEST_CONFIDENCE:g}"
        )
    return int(np.searchsorted(LEVELS, confidence - 1e-9))


def _taken_as_event(counts: Vector, events: Vector) -> Vector:
    """The isotonic regression at each of k groups when one more event is added to it, (k,).

    By the max-min formula: the largest, over groups a up to this one, of the smallest mean from a
    to any group from this one on. Walking back over a, O(k^2) in all, k at a time.
    """
    above = np.append(0.0, np.cumsum(counts))
    up = np.append(0.0, np.cumsum(events))
    best = np.zeros(len(counts))
    for start in range(len(counts)):
        means = (up[start + 1 :] - up[start] + 1) / (above[start + 1 :] - above[start] + 1)
        smallest_from = np.minimum.accumulate(means[::-1])[::-1]
        np.maximum(best[start:], smallest_from, out=best[start:])
    return best
