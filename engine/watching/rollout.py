"""The roll-out that drives itself: shadow, canary of 1, 10 and 50 %, champion. Pure decisions.

A step is taken when enough units were seen and nothing is shown to be worse; what is shown to be
worse is rolled back at once. Absence of proof is no proof of harmlessness: it is the small share of
units, not the test, that bounds what an unseen harm can do at an early stage.

A shadow's pairs show far more than two groups do, so what they have shown is not asked for again:
canaries then look for what only callers can show, failures and slowness, and are short. A canary
that would take longer than all before it is left out. And where the champion's intervals are shown
not to hold and the shadow's to hold far better, it takes its place at once: to wait is the harm.

What looks worse and is not shown to be stays: more outcomes will show it, or that it is not so.

A candidate that is as good as the champion is rolled back by chance with probability at most ALPHA,
however often it is looked at: each of the four stages is compared at LEVEL = ALPHA / 5, which its
three tests share (union bound), and the last fifth is for the errors of the agreement, as it was
measured at the gate and as it is seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.domain.history import Action, Event, History
from engine.domain.judgement import ALPHA, SLOWEST
from engine.domain.traffic import CANARY, SHADOW, VariantRequest
from engine.domain.version import Version
from engine.watching.comparison import Comparison, accuracy, allowed_us, harms

ADVANCE, STAY, ROLL_BACK, REPLACE = "advance", "stay", "roll back", "replace at once"
STOPPED = Action.ROLLOUT_STOPPED
"""The action of the event that ends a roll-out without a promotion."""
AGREEMENT_MARGIN = 0.1
"""Live agreement may be lower than at the gate by this much. A share measured on 200 judged rows
is too high by more with probability 0.003 at worst (binomial, at a half); with the bound of what is
seen, LEVEL / 3, that is less than its fifth."""
LOOKS_WORSE = 0.05
"""A mean loss this share higher, or a coverage this much lower, is not passed on. What truly is so
far off becomes significant in time, so no candidate stays for ever; of two equal models' 1,000
units in two groups it is noise in one of ten looks, and fewer units would make it more."""


_PROVEN = 0.1
"""A shadow whose loss is shown to be at most this share higher, and whose coverage at most this
much lower than the champion's or than what is claimed, has shown more than small canaries could.
These then stay only for what looks worse than that."""


@dataclass(frozen=True)
class Stage:
    """How the candidate is asked, under which action of the history, and how many units at least:
    `fewest` after a shadow that has PROVEN it, else `unproven`.

    What so many units can show, and what they cannot: docs/decisions/0008-always-valid.md.
    """

    name: str
    mode: str
    share: float
    fewest: int
    unproven: int

    @property
    def action(self) -> str:
        return f"rollout {self.name}"

    def request(self, candidate: Version) -> VariantRequest:
        return VariantRequest(candidate, self.mode, self.share)


STAGES = (
    Stage("shadow", SHADOW, 0.0, 500, 500),
    Stage("canary 1 %", CANARY, 0.01, 50, 50),
    Stage("canary 10 %", CANARY, 0.1, 50, 200),
    Stage("canary 50 %", CANARY, 0.5, 200, 1_000),
)
FIRST = STAGES[0]
LEVEL = ALPHA / (len(STAGES) + 1)
"""What a roll-out's report is made at: `report(..., alpha=LEVEL)`."""


@dataclass(frozen=True)
class Rollout:
    """A candidate on its way, since when (UTC, ISO 8601) it is at its stage, and the event that
    made it a shadow, beside the champion of that time."""

    candidate: Version
    stage: Stage
    since: str
    began: Event


@dataclass(frozen=True)
class Step:
    """ADVANCE, STAY, ROLL_BACK or REPLACE, why in one sentence, and the stage that an ADVANCE leads
    to, None when that is champion."""

    move: str
    reason: str
    to: Stage | None = None


def under_way(history: History) -> Rollout | None:
    """The roll-out that goes on; traffic that was set by hand ends it, a copy that takes the
    champion's place does not."""
    made = None
    for before, event in zip([None, *history], history, strict=False):
        if before is None or event.action == Action.ARRANGED or event.traffic != before.traffic:
            made = event
    for stage in STAGES:
        if made is not None and made.action == stage.action:
            candidate = made.traffic.variants[0].version
            starts = [e for e in history if (e.action, e.challenger) == (FIRST.action, candidate)]
            return Rollout(candidate, stage, made.at, began=[made, *starts][-1])
    return None


def following(stage: Stage, units: int) -> Stage | None:
    """The stage after this one, at which so many of the candidate's units were seen; None when it
    becomes champion.

    A stage is left out that would need more callers than there were at this one.
    """
    callers = units / (stage.share or 1)
    after = STAGES[STAGES.index(stage) + 1 :]
    reached = [one for one in after[:-1] if one.share * callers >= one.fewest]
    return next(iter([*reached, *after[-1:]]), None)


def proves(shadow: Comparison | None) -> bool:
    """Whether a shadow's pairs leave little to ask of a canary's accuracy and coverage."""
    if shadow is None or shadow.improvement is None:
        return False
    beside = (shadow.coverage, shadow.variant.coverage_gap)
    lows = [figure.low for figure in beside if figure is not None]
    return shadow.improvement.low >= -_PROVEN and max(lows, default=0.0) >= -_PROVEN


def decide(
    stage: Stage, seen: Comparison, expected_agreement: float | None, *, proven: bool = False
) -> Step:
    """What to do with a candidate, seen since its stage began; `proven` is what `proves` says of
    its time as a shadow.

    `expected_agreement` is the share of judged rows where the candidate's value lay inside the
    champion's interval, None where it was not recorded. Raises ValueError when the comparison was
    made for another stage or level.
    """
    if (seen.mode, seen.alpha) != (stage.mode, LEVEL):
        raise ValueError(f"a {seen.mode} compared at {seen.alpha:g} is not {stage.name} at {LEVEL}")
    found = [*harms(seen), *_disagrees(seen, expected_agreement)]
    units, figures = seen.variant.units, _summary(seen)
    if seen.mode == SHADOW and expected_agreement is None:
        figures += "; agreement not judged: the candidate's card has none from the gate"
    if found:
        return Step(ROLL_BACK, f"{stage.name}, {units:,} units: {'; '.join(found)}.")
    if seen.far_better:
        return Step(REPLACE, f"{stage.name}, {units:,} units: {seen.far_better}.")
    fewest = stage.fewest if proven else stage.unproven
    if units < fewest:
        return Step(STAY, f"{stage.name}: {units:,} of {fewest:,} units; {figures}.")
    if doubts := " and ".join(_looks_worse(seen, _PROVEN if proven else LOOKS_WORSE)):
        worse = f"{doubts} looks worse, not shown yet"
        return Step(STAY, f"{stage.name}: {units:,} units, {worse}; {figures}.")
    reason = f"{stage.name}: {units:,} units, nothing is worse; {figures}."
    return Step(ADVANCE, reason, following(stage, units))


def _disagrees(seen: Comparison, expected: float | None) -> Iterator[str]:
    agreement = seen.agreement.share if seen.agreement is not None else None
    if agreement is None or expected is None:
        return
    if agreement.high < expected - AGREEMENT_MARGIN:
        yield (
            f"only {100 * agreement.estimate:.3g} % of its values lie inside the champion's "
            f"intervals, {100 * expected:.3g} % did at the gate"
        )


def _looks_worse(seen: Comparison, margin: float) -> Iterator[str]:
    """Which figures point the wrong way by more than this, bounds aside.

    As where it is shown, coverage must lack what the intervals claim, and what the champion's has:
    beside a champion that covers too much, a candidate that keeps its word would stay for ever.
    """
    gain, gap, difference = seen.improvement, seen.variant.coverage_gap, seen.coverage
    if gain is not None and gain.estimate < -margin:
        yield "the loss"
    lacks = [figure.estimate for figure in (gap, difference) if figure is not None]
    if len(lacks) == 2 and max(lacks) < -margin:
        yield "the coverage"
    slower, median = seen.latency, seen.variant.latency_us or 0
    is_slow = slower is not None and slower.estimate > SLOWEST * (1 + margin)
    if is_slow and median > allowed_us(seen):
        yield "the latency"


def _summary(seen: Comparison) -> str:
    """The figures of everything that is looked at."""
    variant, agreement = seen.variant, seen.agreement
    parts = [f"{variant.errors:,} of {variant.predictions:,} predictions failed"]
    if agreement is not None and agreement.share is not None:
        inside = 100 * agreement.share.estimate
        parts.append(f"{inside:.3g} % of its values lie inside the champion's intervals")
    if seen.latency is not None:
        allowed = allowed_us(seen)
        judged = f" (judged above {allowed / 1000:g} ms)" if allowed else ""
        parts.append(f"latency {seen.latency.estimate:.2g} times the champion's{judged}")
    if variant.latency_us is None and variant.predictions > variant.errors:
        parts.append("latency not seen: only batches")
    if seen.coverage is not None:
        parts.append(f"coverage {100 * seen.coverage.estimate:+.2g} points beside the champion's")
    return "; ".join([*parts, accuracy(seen)])
