"""The roll-out: a step when enough was seen, back at once when harm is shown, and why."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.domain.history import Event
from engine.domain.judgement import ALPHA
from engine.domain.kinds import BINARY, POSITIVE
from engine.domain.schema import Vector
from engine.domain.traffic import ALONE, CANARY, SHADOW, TEST, Traffic, Variant
from engine.domain.version import Version
from engine.watching.comparison import BETTER, HARMS, Comparison, compare
from engine.watching.groups import RecordedAnswers
from engine.watching.rollout import (
    ADVANCE,
    AGREEMENT_MARGIN,
    LEVEL,
    LOOKS_WORSE,
    REPLACE,
    ROLL_BACK,
    STAGES,
    STAY,
    STOPPED,
    Stage,
    Step,
    decide,
    following,
    proves,
    under_way,
)
from engine.watching.sequence import Difference

OLD, NEW = Version.parse("v1.0.0"), Version.parse("v1.1.0-rc.1")
IN_SHADOW, ONE, TEN, HALF = STAGES
SPREAD = 0.2
MARGIN = float(stats.t.isf(0.05, 3)) * SPREAD
"""Half the log width of intervals that hold 90 % of errors that are t with 3 degrees of freedom."""
AGREEMENT = 0.9
ROLLOUTS = 50


def answers(log_errors: Vector, latency_us: Vector, **changes: Any) -> RecordedAnswers:
    """A unit each row, the truth is 100; without outcomes, `actual` is NaN."""
    n = len(log_errors)
    value = 100 * np.exp(log_errors)
    margin = MARGIN * changes.pop("margin", 1.0)
    ends = value / np.exp(margin), value * np.exp(margin)
    columns = (value, *ends, np.full(n, 0.9), latency_us, np.full(n, 100.0))
    whole = RecordedAnswers(POSITIVE, np.arange(n), *columns)
    return replace(whole, **changes)


def drawn(
    rng: np.random.Generator, stage: Stage, n: int
) -> tuple[RecordedAnswers, RecordedAnswers]:
    """Two equal models, n units of the variant: the same rows in the shadow, else their own."""
    if stage.mode == SHADOW:
        shared, old, new = rng.standard_t(3, (3, n)) * SPREAD
        errors = [(shared + 0.4 * own) / 1.16**0.5 for own in (old, new)]
    else:
        others = round(n * (1 / stage.share - 1))
        errors = [rng.standard_t(3, size) * SPREAD for size in (others, n)]
    old_side, new_side = (answers(e, rng.lognormal(3, 0.5, len(e))) for e in errors)
    return old_side, new_side


def first(rows: RecordedAnswers, n: int) -> RecordedAnswers:
    columns = ("unit", "value", "lower", "upper", "level", "latency_us", "actual")
    return RecordedAnswers(rows.kind, *(getattr(rows, name)[:n] for name in columns))


def seen(stage: Stage, old: RecordedAnswers, new: RecordedAnswers) -> Comparison:
    sides = (str(OLD), old), (str(NEW), new)
    return compare(stage.mode, *sides, share=stage.share, alpha=LEVEL)


def spoiled(stage: Stage, n: int, **changes: Any) -> Comparison:
    """An equal candidate but for these columns of its answers; a function is given the column."""
    old, new = drawn(np.random.default_rng(0), stage, n)
    found = {k: v(getattr(new, k)) if callable(v) else v for k, v in changes.items()}
    return seen(stage, old, replace(new, **found))


def decided(stage: Stage, comparison: Comparison, *, proven: bool = False) -> Step:
    return decide(stage, comparison, AGREEMENT, proven=proven)


@pytest.mark.parametrize("proven", [False, True], ids=["unproven", "proven"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_an_equal_candidate_stays_until_enough_units_were_seen_and_then_advances(
    stage: Stage, proven: bool
) -> None:
    enough = stage.fewest if proven else stage.unproven
    for n, move in ((enough - 1, STAY), (enough, ADVANCE)):
        step = decided(stage, spoiled(stage, n), proven=proven)
        assert step.move == move
        assert step.reason.startswith(f"{stage.name}: {n:,} ")
        assert f"0 of {n:,} predictions failed" in step.reason


def three_fail(values: Vector) -> Vector:
    return np.where(np.arange(len(values)) < 3, np.nan, values)


def third_misses(lower: Vector) -> Vector:
    return np.where(np.arange(len(lower)) % 3 == 0, 101.0, lower)


@pytest.mark.parametrize(
    ("stage", "changes", "reason"),
    [
        (ONE, {"value": three_fail}, "3 of 400 predictions failed"),
        (IN_SHADOW, {"value": lambda v: 2 * v}, "its values lie inside the champion's intervals"),
        (IN_SHADOW, {"latency_us": np.full(400, 2e5)}, "times, 200 ms, above 100 ms"),
        (ONE, {"latency_us": np.full(400, 2e4)}, "times, 20 ms, above 10 ms"),
        (TEN, {"latency_us": np.full(400, 2e4)}, "times, 20 ms, above 10 ms"),
        (HALF, {"latency_us": lambda us: 2 * us}, "times as long as the champion's"),
        (IN_SHADOW, {"lower": third_misses}, "coverage is"),
        (HALF, {"lower": third_misses}, "coverage is"),
        (IN_SHADOW, {"value": lambda v: 100 * (v / 100) ** 2}, "the mean |log error| is"),
        (HALF, {"value": lambda v: 100 * (v / 100) ** 2}, "the mean |log error| is"),
    ],
)
def test_harm_that_is_shown_is_rolled_back_with_its_reason(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    step = decided(stage, spoiled(stage, 400, **changes))
    assert step.move == ROLL_BACK
    assert step.reason.startswith(f"{stage.name}, 400 units: ")
    assert reason in step.reason


def test_harm_is_rolled_back_before_enough_units_were_seen() -> None:
    assert decided(HALF, spoiled(HALF, 60, value=three_fail)).move == ROLL_BACK


@pytest.mark.parametrize("stage", [IN_SHADOW, ONE, TEN], ids=lambda stage: stage.name)
def test_who_is_seldom_asked_may_be_slower_as_with_cold_caches(stage: Stage) -> None:
    slower = spoiled(stage, stage.unproven, latency_us=lambda us: 3 * us)
    step = decided(stage, slower)
    assert step.move == ADVANCE
    assert "times the champion's (judged above 1" in step.reason


def test_an_equally_slow_candidate_is_not_rolled_back_beside_a_slow_champion() -> None:
    old, new = drawn(np.random.default_rng(0), ONE, ONE.fewest)
    slow = [replace(rows, latency_us=1e4 * rows.latency_us) for rows in (old, new)]
    assert decided(ONE, seen(ONE, *slow)).move == ADVANCE


def test_a_step_says_that_batches_show_no_latency() -> None:
    unknown = np.full(HALF.unproven, np.nan)
    step = decided(HALF, spoiled(HALF, HALF.unproven, latency_us=unknown))
    assert step.move == ADVANCE
    assert "latency not seen: only batches" in step.reason


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"value": lambda v: 100 * (v / 100) ** 1.25}, "the loss"),
        ({"lower": lambda lower: np.where(np.arange(len(lower)) % 9 == 0, 101, lower)}, "the cov"),
    ],
)
def test_what_looks_worse_and_is_not_shown_to_be_stays(changes: dict[str, Any], doubt: str) -> None:
    few = np.where(np.arange(TEN.unproven) < 60, 100.0, np.nan)
    found = spoiled(TEN, TEN.unproven, actual=few, **changes)
    step = decided(TEN, found)
    assert step.move == STAY
    assert step.reason.startswith(f"{TEN.name}: {TEN.unproven} units, {doubt}")
    assert "looks worse, not shown yet; 0 of" in step.reason


def test_a_canary_after_a_proof_stays_only_for_what_looks_much_worse() -> None:
    """The world may have changed since: a proof is of its time."""
    for power, move in ((1.05, ADVANCE), (1.5, STAY)):
        old, new = drawn(np.random.default_rng(0), TEN, 400)
        worse = replace(new, value=100 * (new.value / 100) ** power, actual=known_of(new, 60))
        assert decided(TEN, seen(TEN, old, worse), proven=True).move == move


def test_what_looks_slower_stays_until_it_is_shown_or_is_not_so() -> None:
    """Of 200 units a median half as long again cannot be shown to be above the limit."""
    slower = spoiled(HALF, HALF.fewest, latency_us=lambda us: 1.45 * us)
    step = decided(HALF, slower, proven=True)
    assert step.move == STAY
    assert "the latency looks worse, not shown yet" in step.reason


def known_of(rows: RecordedAnswers, n: int) -> Vector:
    return np.where(np.arange(len(rows)) < n, 100.0, np.nan)


def test_a_candidate_that_keeps_its_word_passes_a_champion_that_covers_too_much() -> None:
    old, new = drawn(np.random.default_rng(0), HALF, HALF.unproven)
    wide = replace(old, lower=old.lower / 2, upper=2 * old.upper)
    found = seen(HALF, wide, new)
    assert found.coverage is not None
    assert found.coverage.estimate < -LOOKS_WORSE
    assert decided(HALF, found).move == ADVANCE


def test_without_an_agreement_from_the_gate_the_step_says_so() -> None:
    fit = spoiled(IN_SHADOW, IN_SHADOW.fewest)
    assert "agreement not judged" in decide(IN_SHADOW, fit, None).reason
    assert "agreement not judged" not in decided(IN_SHADOW, fit).reason


@pytest.mark.parametrize(("above", "move"), [(-0.01, ADVANCE), (0.01, ROLL_BACK)])
def test_agreement_may_be_lower_than_at_the_gate_by_the_margin(above: float, move: str) -> None:
    """What counts is not the measured share but its upper bound."""
    equal = spoiled(IN_SHADOW, IN_SHADOW.fewest)
    assert equal.agreement is not None
    share = Difference(0.5, 0.4, 0.6)
    given = replace(equal, agreement=replace(equal.agreement, share=share))
    assert decide(IN_SHADOW, given, share.high + AGREEMENT_MARGIN + above).move == move


def test_without_outcomes_a_step_says_so() -> None:
    unknown = np.full(60, np.nan)
    step = decided(ONE, spoiled(ONE, 60, actual=unknown))
    assert step.move == ADVANCE
    assert step.reason.endswith("; no outcomes of its predictions are known yet.")


def test_a_comparison_of_another_stage_or_level_is_refused() -> None:
    fit = spoiled(ONE, 60)
    for stage, comparison in ((IN_SHADOW, fit), (ONE, replace(fit, alpha=ALPHA))):
        with pytest.raises(ValueError, match="compared at"):
            decided(stage, comparison)


def arrives(rng: np.random.Generator) -> bool | None:
    """Whether an equal candidate that its shadow has not proven becomes champion, with a look after
    every fifth of a stage's units until ten times as many; None when it then still stays."""
    for stage in STAGES:
        old, new = drawn(rng, stage, 10 * stage.unproven)
        for k in range(stage.unproven // 5, len(new) + 1, stage.unproven // 5):
            others = len(old) * k // len(new)
            step = decided(stage, seen(stage, first(old, others), first(new, k)))
            if step.move != STAY:
                break
        if step.move != ADVANCE:
            return False if step.move == ROLL_BACK else None
    return True


def test_an_equal_candidate_arrives_and_is_seldom_rolled_back_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    ends = [arrives(rng) for _ in range(ROLLOUTS)]
    assert ends.count(False) <= stats.binom.isf(1e-4, ROLLOUTS, ALPHA)
    assert ends.count(True) >= ROLLOUTS - stats.binom.isf(1e-4, ROLLOUTS, 2 * ALPHA)


def test_the_levels_of_all_stages_and_the_gates_error_sum_to_alpha() -> None:
    """A share measured on 200 rows is too high by the margin, or the bound of the live one wrong,
    less often than the level left."""
    at_worst = max(
        stats.binom.sf(np.floor(200 * (p + AGREEMENT_MARGIN)), 200, p)
        for p in np.linspace(0.01, 0.9, 90)
    )
    assert at_worst + LEVEL / HARMS <= LEVEL
    assert len(STAGES) * LEVEL + LEVEL == pytest.approx(ALPHA)


def event(number: int, action: str, traffic: Traffic, version: Version = OLD) -> Event:
    return Event(number, f"2026-11-0{number}", action, version, NEW, "retrain.py", "", traffic)


def at(stage: Stage) -> Traffic:
    return ALONE.changed([stage.request(NEW)], salt="experiment")


def test_the_history_tells_the_candidate_its_stage_and_since_when() -> None:
    past = [event(1, "kept", ALONE), event(2, IN_SHADOW.action, at(IN_SHADOW))]
    past += [event(3, ONE.action, at(ONE)), event(4, "kept", at(ONE))]
    found = under_way(past)
    assert found is not None
    assert (found.candidate, found.stage, found.since) == (NEW, ONE, "2026-11-03")


@pytest.mark.parametrize(
    "after",
    [
        event(2, STOPPED, ALONE),
        event(2, "promoted", ALONE, Version.parse("v1.1.0")),
        event(2, "arranged", at(TEN)),
        event(2, "arranged", Traffic((Variant(NEW, TEST, ((0, 100),)),))),
    ],
    ids=["stopped", "promoted", "other share by hand", "other mode by hand"],
)
def test_a_rollout_is_over_when_the_traffic_is_no_longer_its_own(after: Event) -> None:
    before = event(1, ONE.action, at(ONE))
    assert under_way([before]) is not None
    assert under_way([before, after]) is None
    assert under_way([]) is None


def test_the_stages_follow_one_another_to_the_champion() -> None:
    assert [stage.action for stage in STAGES] == [
        "rollout shadow",
        "rollout canary 1 %",
        "rollout canary 10 %",
        "rollout canary 50 %",
    ]
    assert [following(stage, 100_000) for stage in STAGES] == [*STAGES[1:], None]
    assert [at(stage).variants[0].share for stage in STAGES] == [0, 0.01, 0.1, 0.5]
    assert all(stage.mode == CANARY for _, stage in pairwise(STAGES))


def test_a_canary_that_would_take_longer_than_all_before_it_is_left_out() -> None:
    """A hundredth of 500 callers are five, and 50 have to be seen."""
    assert following(IN_SHADOW, 500) == TEN
    assert following(IN_SHADOW, 4_999) == TEN
    assert following(IN_SHADOW, 5_000) == ONE
    assert following(ONE, 50) == TEN
    assert following(TEN, 50) == HALF
    assert decided(IN_SHADOW, spoiled(IN_SHADOW, 600)).to == TEN


def test_a_shadow_proves_what_its_pairs_show_and_nothing_without_outcomes() -> None:
    rng = np.random.default_rng(4)
    many, few = (seen(IN_SHADOW, *drawn(rng, IN_SHADOW, n)) for n in (4_000, 60))
    unknown = spoiled(IN_SHADOW, 4_000, actual=np.full(4_000, np.nan))
    assert proves(many)
    assert not proves(few)
    assert not proves(unknown)
    assert not proves(spoiled(IN_SHADOW, 4_000, value=lambda v: 100 * (v / 100) ** 1.15))


def test_a_champion_that_is_far_off_is_replaced_before_the_shadow_has_seen_enough() -> None:
    old, new = drawn(np.random.default_rng(5), IN_SHADOW, 150)
    off = replace(old, lower=2 * old.lower, upper=2 * old.upper, value=2 * old.value)
    found = seen(IN_SHADOW, off, new)
    step = decide(IN_SHADOW, found, None)
    assert step.move == REPLACE
    assert step.to is None
    assert "v1.0.0's intervals, which claim 0.9, hold" in step.reason
    assert found.verdict == BETTER
    assert "v1.0.0's intervals, which claim 0.9, hold" in found.sentence
    assert decided(IN_SHADOW, spoiled(IN_SHADOW, 150)).move == STAY


def test_a_report_never_hides_that_coverages_are_far_apart() -> None:
    """Two groups show less than pairs: nothing may be shown yet, and everybody has to see it."""
    old, new = drawn(np.random.default_rng(5), HALF, 70)
    off = replace(old, lower=1.4 * old.lower, upper=1.4 * old.upper)
    sentence = seen(HALF, off, new).sentence
    assert "No difference" not in sentence
    assert "points off what is claimed, the champion's -" in sentence


def forecasts(rng: np.random.Generator, stage: Stage, n: int, misses: float) -> Comparison:
    """Two models of an event, three in ten: the champion misses the log-odds by 0.4, the candidate
    by so much; of the same rows in the shadow."""

    def side(true: Vector, happened: Vector, off: float) -> RecordedAnswers:
        said = 1 / (1 + np.exp(-(true + rng.normal(0, off, len(true)))))
        blank = answers(np.zeros(len(true)), np.full(len(true), 100.0))
        blank = replace(blank, kind=BINARY, actual=happened)
        return replace(blank, value=said, lower=0.8 * said, upper=said)

    def rows(size: int) -> tuple[Vector, Vector]:
        true = rng.normal(-1, 1, size)
        return true, (rng.random(size) < 1 / (1 + np.exp(-true))).astype(float)

    asked = rows(n)
    before = asked if stage.mode == SHADOW else rows(round(n * (1 / stage.share - 1)))
    return seen(stage, side(*before, 0.4), side(*asked, misses))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_candidate_for_an_event_is_judged_by_log_loss_and_not_by_coverage(stage: Stage) -> None:
    """No event lies within the bounds of its probability, and nobody is reproached for that."""
    n = 10 * stage.unproven
    equal, worse = (forecasts(np.random.default_rng(2), stage, n, off) for off in (0.4, 3.0))
    good, bad = decide(stage, equal, None), decide(stage, worse, None)
    assert good.move == ADVANCE
    assert "coverage" not in good.reason
    assert bad.move == ROLL_BACK
    assert f"{n:,} units: the mean log loss is " in bad.reason
