"""What chance alone does to the loss of an event: the uncertainty while few events have happened.

A model that underestimates a rare event has a slightly lower loss on every row where it does not
happen. As long as it has not happened, the mean loss is lower and hardly varies, and a test that
uses the measured spread would call it significant. So the loss is never taken to vary less than it
would if events were as likely as the models themselves say: given a row, its log loss is one of two
values that lie the log-odds apart, and a Bernoulli variable says which.
"""

import numpy as np

from engine.domain.kinds import ByKind
from engine.domain.schema import Vector
from engine.domain.traffic import SHADOW
from engine.watching.groups import RecordedAnswers, per_unit
from engine.watching.sequence import NO_SPREAD, Spread


def least_spread(mode: str, old: RecordedAnswers, new: RecordedAnswers) -> Spread:
    """The least variance of a unit's mean loss by chance alone; 0 for a quantity."""
    return _LEAST_SPREAD[old.kind](mode, old, new)


def _of_quantities(mode: str, old: RecordedAnswers, new: RecordedAnswers) -> Spread:
    return NO_SPREAD


def _of_events(mode: str, old: RecordedAnswers, new: RecordedAnswers) -> Spread:
    """Of a shadow's pairs as both models expect events on average, of two groups as each does."""
    if mode == SHADOW:
        return _of_pairs(old, new, (old.value + new.value) / 2)
    alone = [_of_pairs(side, side, side.value).old for side in (old, new)]
    return Spread(alone[0], alone[1], 0.0)


def _of_pairs(old: RecordedAnswers, new: RecordedAnswers, chance: Vector) -> Spread:
    """Of answers to the same rows, whose events happen with these chances, (n,): within a unit all
    of them or none, for rows of one unit are no independent evidence."""
    known = old.is_known & new.is_known
    expected = np.where(known, chance, np.nan)
    event = expected * (1 - expected)
    by_old, by_new = (_log_odds(np.where(known, side.value, np.nan)) for side in (old, new))
    squares = event * by_old**2, event * by_new**2, event * by_old * by_new
    units = per_unit(old.unit, *squares)
    if not units.size:
        return NO_SPREAD
    v0, v1, covariance = units.mean(axis=1).tolist()
    return Spread(v0, v1, covariance)


def _log_odds(chance: Vector) -> Vector:
    return np.asarray(np.log(chance) - np.log1p(-chance))


_LEAST_SPREAD = ByKind(positive=_of_quantities, real=_of_quantities, binary=_of_events)
