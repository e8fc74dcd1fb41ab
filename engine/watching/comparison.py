"""A variant beside the champion, from records: what is known, and what may be said of it.

The promise: however often a report is looked at, a variant that is not at least MINIMUM_EFFECT
better, nor covers more than a champion that is far off, is ever called better with probability at
most alpha, and one that is as good is ever called worse with probability at most alpha (failures
aside, which are counted and not tested). A report gives each of k variants alpha / k.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.domain.far import Bounds, far_better
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT, SLOWEST
from engine.domain.kinds import TargetKind
from engine.domain.record import CHAMPION, JoinedRecord
from engine.domain.traffic import SHADOW, Traffic
from engine.domain.version import Version
from engine.watching.chance import least_spread
from engine.watching.groups import (
    RecordedAnswers,
    columns,
    coverage_gap,
    grouped,
    log_latency,
    losses,
    pairs,
)
from engine.watching.sequence import (
    FEWEST,
    NO_SPREAD,
    Difference,
    Means,
    Spread,
    apart,
    difference,
    improvement,
    paired,
    ratio_of_medians,
    times_longer,
)
from engine.watching.sides import Agreement, Pair, Side, agreement, in_units, outcomes, side

BETTER, WORSE, OPEN = "better", "worse", "no difference shown yet"
HARMS = 3
"""Tests that can find a variant worse: loss, coverage and latency."""
BY_COVERAGE = 0.2
"""Of alpha, for finding a shadow better by its coverage; the rest is for its loss."""
_NOTED = 0.05
"""A coverage this far from the champion's is reported, whether or not the difference is
significant."""
_OFTEN = 0.3
"""From this share of the units on, times are judged by their ratio alone. A model that is seldom
asked finds cold caches: the same model measures 1.8 times as long at 1 %, 1.02 times at 50 %."""
_SLOWEST_RARE_US, _SLOWEST_SHADOW_US = 10_000, 100_000
"""A variant that is asked less often, or a shadow, is slow only if its median is also above
this."""
_FAILURES = 0.001
"""Share of failed predictions above which a variant needs a person; a single one does not."""


@dataclass(frozen=True)
class Comparison:
    """A variant beside the champion, on the same rows (shadow) or on its `share` of all units.

    judged_by: what the loss is called. latency: how many times the champion's median. improvement:
    share by which the mean loss is lower. coverage: how much larger the coverage gap is. Each bound
    holds at every look but with probability alpha / HARMS, the lower bound of the improvement but
    with what BY_COVERAGE leaves of alpha; None where there are too few units. far_better: how a
    shadow is shown to cover far more than a champion that is far off, None where it is not.
    more_outcomes: how many more of the variant's it would take to show the present difference of
    the loss, were it real.
    """

    version: str
    mode: str
    judged_by: str
    alpha: float
    share: float
    champion: Side
    variant: Side
    agreement: Agreement | None
    latency: Difference | None
    improvement: Difference | None
    coverage: Difference | None
    far_better: str | None
    more_outcomes: int | None

    @property
    def verdict(self) -> str:
        if any(harms(self)):
            return WORSE
        found = self.improvement
        is_shown = found is not None and found.low >= MINIMUM_EFFECT
        return BETTER if is_shown or self.far_better else OPEN

    @property
    def sentence(self) -> str:
        if self.verdict == WORSE:
            return f"{self.version} is worse: {'; '.join(harms(self))}."
        figure, beside = accuracy(self), _coverages(self)
        if self.verdict == BETTER:
            return f"{self.version} is better: {figure}{beside}."
        if beside:
            return f"{self.version} is not shown to be better yet: {figure}{beside}."
        return f"No difference shown yet for {self.version}: {figure}{_outlook(self)}."

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict, "sentence": self.sentence}


@dataclass(frozen=True)
class Report:
    """Every variant of a split of the traffic beside the champion, since it was arranged."""

    champion: str
    since: str | None
    comparisons: tuple[Comparison, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; None for what is not known."""
        comparisons = [comparison.as_json() for comparison in self.comparisons]
        return {"champion": self.champion, "since": self.since, "comparisons": comparisons}


def report(
    kind: TargetKind,
    traffic: Traffic,
    champion: Version,
    *,
    since: str | None,
    joined: Iterable[JoinedRecord],
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
    champion: tuple[str, RecordedAnswers],
    variant: tuple[str, RecordedAnswers],
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
        old.kind.measure.loss_name,
        alpha,
        share,
        side(*champion, loss[0], gap=gap[0], time=time[0], alpha=each),
        side(*variant, loss[1], gap=gap[1], time=time[1], alpha=each),
        agreement(old, new, each) if mode == SHADOW else None,
        latency=ratio_of_medians(np.exp(time[0]), np.exp(time[1]), each),
        improvement=improvement(compared, below=(1 - BY_COVERAGE) * alpha, above=each),
        coverage=difference(means(mode, gap), each, is_share=True),
        far_better=_far(champion, variant, BY_COVERAGE * alpha) if mode == SHADOW else None,
        more_outcomes=_more_outcomes(compared, outcomes(new), alpha),
    )


def means(mode: str, of: Pair, least: Spread = NO_SPREAD) -> Means | None:
    return (paired if mode == SHADOW else apart)(*of, least)


def _far(
    champion: tuple[str, RecordedAnswers], variant: tuple[str, RecordedAnswers], alpha: float
) -> str | None:
    """Over the rows that both answered and whose truth is known; an event has no coverage."""
    old, new = champion[1], variant[1]
    known = old.is_known & new.is_known & np.isfinite(old.lower + old.upper + new.lower + new.upper)
    before, after = (
        Bounds(side.lower[known], side.upper[known], side.level[known]) for side in (old, new)
    )
    if not old.has_coverage:
        return None
    found = far_better(
        old.kind, old.unit[known], old.actual[known], old=before, new=after, alpha=alpha
    )
    return None if found is None else found.told(champion[0], variant[0])


def _more_outcomes(loss: Means | None, known: int, alpha: float) -> int | None:
    """How many more outcomes would show the present difference; two digits, it is a guess."""
    if loss is None:
        return None
    kept = 1 - MINIMUM_EFFECT
    level = (1 - BY_COVERAGE) * alpha
    better = times_longer(loss, kept * loss.old - loss.new, loss.variance(kept), alpha=level)
    worse = times_longer(loss, loss.new - loss.old, loss.variance(1.0), alpha=alpha / HARMS)
    times = better or worse
    return int(float(f"{(times - 1) * known:.2g}")) if times is not None and times > 1 else None


def harms(found: Comparison) -> Iterator[str]:
    """In which ways the variant is shown to be worse than the champion."""
    variant, slower = found.variant, found.latency
    if _fails(variant):
        yield f"{variant.errors:,} of {variant.predictions:,} predictions failed"
    allowed, median = allowed_us(found), variant.latency_us or 0
    if slower is not None and slower.low > SLOWEST and median > allowed:
        above = f", {median / 1000:.3g} ms, above {allowed / 1000:g} ms" if allowed else ""
        yield (
            f"a prediction takes {slower.estimate:.2g} times as long as the champion's, "
            f"at least {slower.low:.2g} times{above}"
        )
    gap, difference = variant.coverage_gap, found.coverage
    if gap is not None and difference is not None and max(gap.high, difference.high) < 0:
        yield (
            f"coverage is {_points(gap)} below what the intervals claim, "
            f"{_points(difference)} below the champion's"
        )
    if found.improvement is not None and found.improvement.high < 0:
        yield accuracy(found)


def allowed_us(found: Comparison) -> float:
    """The median latency in µs that is never a harm, however fast the champion is."""
    if found.mode == SHADOW:
        return _SLOWEST_SHADOW_US
    return 0 if found.share >= _OFTEN else _SLOWEST_RARE_US


def _fails(variant: Side) -> bool:
    return variant.errors > max(1, _FAILURES * variant.predictions)


def accuracy(found: Comparison) -> str:
    """The loss in words, and how many more outcomes are needed."""
    outcomes, gain = found.variant.outcomes, found.improvement
    if outcomes == 0:
        return "no outcomes of its predictions are known yet"
    if gain is None:
        return f"{outcomes:,} of its outcomes known, bounds need {FEWEST} units on either side"
    return (
        f"the mean {found.judged_by} is {_change(gain.estimate)}, between {_change(gain.low)} "
        f"and {_change(gain.high)} ({outcomes:,} outcomes)"
    )


def _coverages(found: Comparison) -> str:
    """Both coverages, if they differ by _NOTED or more; else, of a far better variant, that
    finding."""
    if found.far_better:
        return f"; {found.far_better}"
    both = [side.coverage_gap for side in (found.champion, found.variant)]
    gaps = [gap.estimate for gap in both if gap is not None]
    if len(gaps) < len(both) or abs(gaps[1] - gaps[0]) < _NOTED:
        return ""
    old, new = (f"{100 * gap:+.2g}" for gap in gaps)
    return f"; its coverage is {new} points off what is claimed, the champion's {old}"


def _outlook(found: Comparison) -> str:
    if found.more_outcomes is not None:
        return f"; if that is real, about {found.more_outcomes:,} more outcomes will show it"
    if found.improvement is not None:
        return f"; a gain below {100 * MINIMUM_EFFECT:g} % would not count"
    return ""


def _points(below: Difference) -> str:
    return f"{-100 * below.estimate:.2g} (at least {-100 * below.high:.2g}) percentage points"


def _change(share: float) -> str:
    percent = round(100 * share, 4)
    return f"{abs(percent):.3g} % {'lower' if percent >= 0 else 'higher'}"
