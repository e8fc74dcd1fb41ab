"""What chance alone does to the loss of an event: the doubt that is left while few have happened.

Who gives a rare event too little is better by a hair on every row but those where it happens. As
long as it did not, the mean loss is lower and hardly varies, and a test that believes what it saw
calls that shown. So the loss is never taken to vary less than it would, were events as likely as
the models themselves say: given a row, its log loss is one of two values that lie the log-odds
apart, and a Bernoulli variable says which.
"""

import numpy as np

from engine.domain.schema import BINARY, Vector
from engine.domain.traffic import SHADOW
from engine.watching.groups import Answers, per_unit
from engine.watching.sequence import NO_SPREAD, Spread


def least_spread(mode: str, old: Answers, new: Answers) -> Spread:
    """Of a unit's mean loss, by chance alone: of a shadow's pairs as both models expect events on
    average, of two groups as each of them does; nothing where the target is no event."""
    if old.kind != BINARY:
        return NO_SPREAD
    if mode == SHADOW:
        return of_pairs(old, new, (old.value + new.value) / 2)
    alone = [of_pairs(side, side, side.value).old for side in (old, new)]
    return Spread(alone[0], alone[1], 0.0)


def of_pairs(old: Answers, new: Answers, chance: Vector) -> Spread:
    """Of answers to the same rows, whose events happen with these chances, (n,): within a unit all
    of them or none, for rows of one unit are no independent evidence."""
    known = old.is_known & new.is_known
    expected = np.where(known, chance, np.nan)
    event = expected * (1 - expected)
    by_old, by_new = (log_odds(np.where(known, side.value, np.nan)) for side in (old, new))
    squares = event * by_old**2, event * by_new**2, event * by_old * by_new
    units = per_unit(old.unit, *squares)
    if not units.size:
        return NO_SPREAD
    v0, v1, covariance = units.mean(axis=1).tolist()
    return Spread(v0, v1, covariance)


def log_odds(chance: Vector) -> Vector:
    return np.asarray(np.log(chance) - np.log1p(-chance))
