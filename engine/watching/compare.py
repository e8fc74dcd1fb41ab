"""From records to a report: every variant beside the champion, judged alike at every look."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from engine.domain.far import Bounds, far_better
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT
from engine.domain.loss import LOSS, distance
from engine.domain.record import CHAMPION, Joined
from engine.domain.schema import Vector
from engine.domain.traffic import SHADOW, Traffic
from engine.domain.version import Version
from engine.watching.chance import least_spread
from engine.watching.comparison import BY_COVERAGE, HARMS, Agreement, Comparison, Report, Side
from engine.watching.groups import (
    Answers,
    columns,
    coverage_gap,
    grouped,
    log_latency,
    losses,
    pairs,
    per_unit,
)
from engine.watching.sequence import (
    NO_SPREAD,
    Means,
    Spread,
    apart,
    difference,
    improvement,
    mean,
    paired,
    ratio_of_medians,
    times_longer,
)

Quantity = Callable[[Answers], Vector]
Pair = tuple[Vector, Vector]


def report(
    kind: str,
    traffic: Traffic,
    champion: Version,
    since: str | None,
    joined: Iterable[Joined],
    *,
    alpha: float = ALPHA,
) -> Report:
    """Each variant beside the champion, from the records since the traffic was arranged so; `kind`
    is the target's."""
    asked = [(str(v.version), v.mode, v.share) for v in traffic.variants]
    groups = grouped(joined, [(str(champion), CHAMPION), *(one[:2] for one in asked)])
    own = groups[str(champion), CHAMPION]
    found = []
    for version, mode, share in asked:
        other = groups[version, mode]
        if mode == SHADOW:
            old, new = pairs(kind, own, other)
        else:
            old, new = columns(kind, own), columns(kind, other)
        sides = (str(champion), old), (version, new)
        found.append(compare(mode, *sides, share=share, alpha=alpha / len(asked)))
    return Report(str(champion), since, tuple(found))


def compare(
    mode: str,
    champion: tuple[str, Answers],
    variant: tuple[str, Answers],
    *,
    share: float,
    alpha: float,
) -> Comparison:
    """Both versions and their answers; row by row to the same questions if it is a shadow."""
    each, old, new = alpha / HARMS, champion[1], variant[1]
    loss, gap, time = (
        in_units(mode, old, new, quantity=q) for q in (losses, coverage_gap, log_latency)
    )
    compared = means(mode, loss, least_spread(mode, old, new))
    return Comparison(
        variant[0],
        mode,
        LOSS[old.kind],
        alpha,
        share,
        side(*champion, loss[0], gap=gap[0], time=time[0], alpha=each),
        side(*variant, loss[1], gap=gap[1], time=time[1], alpha=each),
        agreement(old, new, each) if mode == SHADOW else None,
        latency=ratio_of_medians(np.exp(time[0]), np.exp(time[1]), each),
        improvement=improvement(compared, below=(1 - BY_COVERAGE) * alpha, above=each),
        coverage=difference(means(mode, gap), each, is_share=True),
        far_better=far(champion, variant, BY_COVERAGE * alpha) if mode == SHADOW else None,
        more_outcomes=more_outcomes(compared, outcomes(new), alpha),
    )


def in_units(mode: str, old: Answers, new: Answers, *, quantity: Quantity) -> Pair:
    """The quantity's mean in each unit; of a shadow, over rows where it is known of both."""
    if mode == SHADOW:
        both = per_unit(old.unit, quantity(old), quantity(new))
        return both[0], both[1]
    return per_unit(old.unit, quantity(old))[0], per_unit(new.unit, quantity(new))[0]


def means(mode: str, of: Pair, least: Spread = NO_SPREAD) -> Means | None:
    return (paired if mode == SHADOW else apart)(*of, least)


def side(
    version: str, rows: Answers, loss: Vector, *, gap: Vector, time: Vector, alpha: float
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


def outcomes(rows: Answers) -> int:
    return int(rows.is_known.sum())


def agreement(old: Answers, new: Answers, alpha: float) -> Agreement:
    """Over the rows that both answered."""
    both = ~(old.failed | new.failed)
    unit, lower, upper = old.unit[both], old.lower[both], old.upper[both]
    value, other = new.value[both], old.value[both]
    inside = np.asarray((lower <= value) & (value <= upper), dtype=float)
    claimed = (upper > lower) & old.has_coverage
    widening = (new.upper - new.lower)[both] / np.where(claimed, upper - lower, np.nan) - 1
    apart_by = per_unit(unit, distance(old.kind, value, other))[0]
    share = mean(per_unit(unit, inside)[0], alpha, is_share=True)
    return Agreement(
        share=None if share is None else replace(share, high=min(share.high, 1.0)),
        distance=float(apart_by.mean()) if len(apart_by) else None,
        width=mean(per_unit(unit, widening)[0], alpha, is_share=False),
    )


def far(champion: tuple[str, Answers], variant: tuple[str, Answers], alpha: float) -> str | None:
    """Over the rows that both answered and whose truth is known; an event has no coverage."""
    old, new = champion[1], variant[1]
    known = old.is_known & new.is_known & np.isfinite(old.lower + old.upper + new.lower + new.upper)
    sides = (Bounds(side.lower[known], side.upper[known], side.level[known]) for side in (old, new))
    if not old.has_coverage:
        return None
    found = far_better(old.kind, old.unit[known], old.actual[known], *sides, alpha=alpha)
    return None if found is None else found.told(champion[0], variant[0])


def more_outcomes(loss: Means | None, known: int, alpha: float) -> int | None:
    """How many more outcomes would show the present difference; two digits, it is a guess."""
    if loss is None:
        return None
    kept = 1 - MINIMUM_EFFECT
    level = (1 - BY_COVERAGE) * alpha
    better = times_longer(loss, kept * loss.old - loss.new, loss.variance(kept), alpha=level)
    worse = times_longer(loss, loss.new - loss.old, loss.variance(1.0), alpha=alpha / HARMS)
    times = better or worse
    return int(float(f"{(times - 1) * known:.2g}")) if times is not None and times > 1 else None
