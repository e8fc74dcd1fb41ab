"""Calibrated probabilities with an interval around each: an inductive Venn-Abers predictor.

Held-out rows, sorted by the model's score, say how often the event happens at each score, by
isotonic regression. A new row is put among them twice, once as if the event happened and once as if
not; of the two probabilities that its own score then gets, one is perfectly calibrated, whatever
the model and the data are, as long as rows are exchangeable: the interval is where the truth
lies, and its width is how little the held-out rows know about such a score.

Source: Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and without guarantees
of validity", NeurIPS 28 (2015), sections 2 and 4 (the merged probability has the least regret in
log loss); validity: Vovk and Petej, "Venn-Abers predictors", UAI (2014), theorem 1.
"""

from dataclasses import dataclass

import numpy as np

from engine.domain.conformal import Outputs
from engine.domain.prediction import NO_LEVEL, Interval
from engine.domain.schema import Vector


@dataclass(frozen=True, eq=False)
class VennAbers:
    """What held-out rows say: at each of k ascending scores, the probability that a row of that
    score gets when it is taken as no event (`low`) and as one (`high`), (k,) each.

    rows: how many held-out rows there were.
    """

    scores: Vector
    low: Vector
    high: Vector
    rows: int

    @classmethod
    def fitted(cls, outputs: Outputs, truth: Vector) -> "VennAbers":
        """From held-out rows: their scores, and whether the event happened (1) or not (0)."""
        scores, group = np.unique(outputs.location, return_inverse=True)
        counts = np.bincount(group, weights=np.ones_like(truth))
        events = np.bincount(group, weights=truth)
        high = _taken_as_event(counts, events)
        low = 1 - _taken_as_event(counts[::-1], (counts - events)[::-1])[::-1]
        return cls(scores, low, high, len(truth))

    def refitted(self, outputs: Outputs, truth: Vector) -> "VennAbers":
        """The same promise from other held-out rows."""
        return VennAbers.fitted(outputs, truth)

    @property
    def highest_confidence(self) -> float:
        return NO_LEVEL

    def values(self, outputs: Outputs) -> Vector:
        """The probability of the event, (n,): never 0 and never 1."""
        low, high = self._bounds(outputs)
        return np.asarray(high / (1 - low + high))

    def interval(self, outputs: Outputs, confidence: float = NO_LEVEL) -> Interval:
        """The two probabilities of each row; they claim no level of confidence, so any will do."""
        return Interval(*self._bounds(outputs), NO_LEVEL)

    def widest(self, outputs: Outputs, confidence: float = NO_LEVEL) -> Interval:
        """What is known of a row whose features are not: anything the model ever says."""
        n = len(outputs.location)
        return Interval(np.full(n, self.low.min()), np.full(n, self.high.max()), NO_LEVEL)

    def _bounds(self, outputs: Outputs) -> tuple[Vector, Vector]:
        """A score between two held-out ones pools with the next above as an event, and with the
        next below as none; beyond the last there is nothing to pool with."""
        above = np.searchsorted(self.scores, outputs.location, side="left")
        below = np.searchsorted(self.scores, outputs.location, side="right")
        return np.append(0.0, self.low)[below], np.append(self.high, 1.0)[above]


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
