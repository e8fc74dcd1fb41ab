"""The figures of each of two versions, and how their answers to the same questions differ."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.schema import Vector
from engine.domain.traffic import SHADOW
from engine.watching.groups import RecordedAnswers, per_unit
from engine.watching.sequence import Difference, mean

_Quantity = Callable[[RecordedAnswers], Vector]
Pair = tuple[Vector, Vector]


@dataclass(frozen=True)
class Side:
    """What one version did: rows and units it was asked about, and what came of them.

    latency_us is the median, loss the mean of the declared one, coverage_gap the share of truths
    inside its intervals less the share that was claimed; all of units, None where nothing is known,
    and no coverage of an event: its bounds are of a probability.
    """

    version: str
    predictions: int
    units: int
    errors: int
    outcomes: int
    error_share: float | None
    latency_us: float | None
    loss: float | None
    coverage_gap: Difference | None


@dataclass(frozen=True)
class Agreement:
    """How a shadow's answers differ from the champion's to the same questions.

    share: of values inside the champion's interval. distance: the mean one of the values, as
    `engine.domain.loss` has it. width: mean relative difference of the intervals' widths, None
    of an event.
    """

    share: Difference | None
    distance: float | None
    width: Difference | None


def in_units(mode: str, old: RecordedAnswers, new: RecordedAnswers, *, quantity: _Quantity) -> Pair:
    """The quantity's mean in each unit; of a shadow, over rows where it is known of both."""
    if mode == SHADOW:
        both = per_unit(old.unit, quantity(old), quantity(new))
        return both[0], both[1]
    return per_unit(old.unit, quantity(old))[0], per_unit(new.unit, quantity(new))[0]


def side(
    version: str, rows: RecordedAnswers, loss: Vector, *, gap: Vector, time: Vector, alpha: float
) -> Side:
    n, errors = len(rows), int(rows.failed.sum())
    return Side(
        version,
        predictions=n,
        units=int(np.count_nonzero(np.bincount(rows.unit))),
        errors=errors,
        outcomes=outcomes(rows),
        error_share=errors / n if n else None,
        latency_us=float(np.exp(np.median(time))) if len(time) else None,
        loss=float(loss.mean()) if len(loss) else None,
        coverage_gap=mean(gap, alpha, is_share=True),
    )


def outcomes(rows: RecordedAnswers) -> int:
    return int(rows.is_known.sum())


def agreement(old: RecordedAnswers, new: RecordedAnswers, alpha: float) -> Agreement:
    """Over the rows that both answered."""
    both = ~(old.failed | new.failed)
    unit, lower, upper = old.unit[both], old.lower[both], old.upper[both]
    value, other = new.value[both], old.value[both]
    inside = np.asarray((lower <= value) & (value <= upper), dtype=float)
    claimed = (upper > lower) & old.has_coverage
    widening = (new.upper - new.lower)[both] / np.where(claimed, upper - lower, np.nan) - 1
    apart_by = per_unit(unit, old.kind.measure.distance(value, other))[0]
    share = mean(per_unit(unit, inside)[0], alpha, is_share=True)
    return Agreement(
        share=None if share is None else replace(share, high=min(share.high, 1.0)),
        distance=float(apart_by.mean()) if len(apart_by) else None,
        width=mean(per_unit(unit, widening)[0], alpha, is_share=False),
    )
