"""Figures of zeros and ones: the size of the rarer class, and how well values order them."""

import numpy as np

from engine.domain.schema import Vector


def is_event(target: Vector) -> bool:
    """Whether the values are 0 and 1 only."""
    return bool(np.isin(target, (0, 1)).all())


def rarer(target: Vector) -> int:
    """How many rows the rarer of the two classes has."""
    happened = int(target.sum())
    return min(happened, len(target) - happened)


def area(values: Vector, truth: Vector) -> float:
    """Area under the ROC curve, of values (n,) and truths (n,) that are 0 or 1: how often a row of
    the event is given more than one without (ties count half); from ranks, as Mann and Whitney's
    statistic."""
    events = int(truth.sum())
    others = len(truth) - events
    above = _mean_ranks(values)[truth == 1].sum() - events * (events + 1) / 2
    return float(above / (events * others))


def _mean_ranks(values: Vector) -> Vector:
    """The rank of each value (n,), the lowest is 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place])
