"""The gate on events: the same promises, by log loss, with calibration in place of coverage.

The events are those of `benchmarks.events`, where it is known exactly how much better a model is.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.events import drawn
from benchmarks.events import evidence as built
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT
from engine.domain.kinds import BINARY
from engine.domain.schema import Vector
from engine.judging.evidence import Evidence
from engine.judging.gate import judge, level
from engine.judging.guardrails import VETO_LEVEL, p_positive
from tests.engine.judging.test_gate import NIGHTS, RUNS, altered, most, vetoes

COMMON, RARE = 0.3, 0.03


def evidence(
    rng: np.random.Generator, n: int, ratio: float, rate: float = COMMON, attempt: int = 1
) -> Evidence:
    truth, old, (new,) = drawn(rng, n, ratio, rate)
    return built(truth, old, new, attempt)


@pytest.fixture
def better() -> Evidence:
    """2,000 rows on which the challenger is 12 % better and every guardrail holds."""
    return evidence(np.random.default_rng(0), 2_000, ratio=0.88)


@pytest.mark.parametrize(("rate", "n"), [(COMMON, 500), (RARE, 1_500)])
def test_a_challenger_at_the_border_is_promoted_no_more_often_than_alpha(
    rate: float, n: int
) -> None:
    rng = np.random.default_rng(1)
    ratio = 1 - MINIMUM_EFFECT
    said = [judge(evidence(rng, n, ratio, rate)).promote for _ in range(400)]
    assert np.mean(said) <= most(level(1), 400)


def promoted_on_any_night(rng: np.random.Generator, n: int = 300, step: int = 20) -> bool:
    """As for quantities: a fresh challenger every night, on windows that overlap; the whole gate is
    asked where the loss alone could pass."""
    rows = n + step * (NIGHTS - 1)
    truth, old, fresh = drawn(rng, rows, 1 - MINIMUM_EFFECT, COMMON, NIGHTS)
    for night, new in enumerate(fresh):
        window = slice(night * step, night * step + n)
        parts = truth[window], old[window], new[window]
        losses = [BINARY.measure.loss(said, parts[0]) for said in parts[1:]]
        passes = p_positive((1 - MINIMUM_EFFECT) * losses[0] - losses[1]) <= ALPHA
        if passes and judge(built(*parts, attempt=night + 1)).promote:
            return True
    return False


def test_thirty_nights_in_a_row_promote_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(2)
    said = [promoted_on_any_night(rng) for _ in range(RUNS)]
    assert np.mean(said) <= most(ALPHA, RUNS)


def test_a_clear_winner_is_promoted() -> None:
    """10 % better in log loss at 2,000 rows; 80 % is what is owed."""
    rng = np.random.default_rng(3)
    said = [judge(evidence(rng, 2_000, 0.9)).promote for _ in range(100)]
    assert np.mean(said) >= 0.8


def test_a_rare_event_shows_its_winner_too() -> None:
    """3 % of 4,000 rows: 120 events, of which a challenger that is 20 % better sees enough."""
    rng = np.random.default_rng(4)
    said = [judge(evidence(rng, 4_000, 0.8, RARE)).promote for _ in range(60)]
    assert np.mean(said) >= 0.8


def test_guardrails_object_to_an_equal_challenger_as_seldom_as_they_say() -> None:
    """Slices and calibration, each a test at its level."""
    rng = np.random.default_rng(5)
    said = [vetoes(judge(evidence(rng, 2_000, 1.0))) for _ in range(400)]
    for name in ("slices", "calibration"):
        assert np.mean([name in names for names in said]) <= most(VETO_LEVEL, 400)


def test_it_promotes_with_a_sentence_that_names_the_gain(better: Evidence) -> None:
    verdict = judge(better)
    assert verdict.promote
    assert verdict.sentence.startswith("Promote the challenger: the challenger's mean log loss is")


def overconfident(given: Evidence) -> Vector:
    """A little better informed, and far too sure: odds to the power of 1.5."""
    odds = (given.challenger.values / (1 - given.challenger.values)) ** 1.5
    return np.asarray(odds / (1 + odds))


def worse_where_small(given: Evidence) -> Vector:
    """A fifth of the rows, by size, is told the base rate; the rest knows nearly all."""
    told = np.where(given.truth == 1, 0.7, 0.3) * 0.6 + 0.4 * given.challenger.values
    small = given.sliced["size"] <= np.quantile(given.sliced["size"], 0.2)
    return np.where(small, given.truth.mean(), told)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("calibration", lambda e: altered(e, values=overconfident(e))),
        ("slices", lambda e: altered(e, values=worse_where_small(e))),
        ("latency", lambda e: altered(e, latency_us=max(201.0, 1.21 * e.champion.latency_us))),
        ("contract", lambda e: replace(e, same_contract=False)),
        ("parity", lambda e: replace(e, parity=False)),
    ],
)
def test_every_guardrail_keeps_the_champion_and_says_so(
    better: Evidence, name: str, spoil: Any
) -> None:
    verdict = judge(spoil(better))
    assert name in vetoes(verdict)
    assert not verdict.promote


def test_a_brier_score_that_is_higher_as_measured_keeps_the_champion(better: Evidence) -> None:
    """A champion that gave a few events next to no chance: log loss punishes that, Brier hardly."""
    lucky = better.champion.values.copy()
    lucky[better.truth == 1] = 0.99
    lucky[np.flatnonzero(better.truth == 1)[:200]] = 1e-9
    lucky[better.truth == 0] = 0.01
    verdict = judge(replace(better, champion=replace(better.champion, values=lucky)))
    assert verdict.checks[0].passed
    assert "Brier" in vetoes(verdict)


def test_calibration_may_be_off_by_the_chance_of_few_calibration_rows(better: Evidence) -> None:
    """5 % more than is so, on average: 2,000 rows show it, 50 calibration rows excuse it."""
    high = np.clip(better.challenger.values + 0.05, 0, 0.999)
    assert "calibration" in vetoes(judge(altered(better, values=high)))
    excused = altered(better, values=high, calibration_rows=50)
    assert "calibration" not in vetoes(judge(excused))


def test_too_much_said_everywhere_is_seen_where_half_of_the_rows_are_events() -> None:
    """There 1 - 2p cancels out: Spiegelhalter's z alone sees nothing."""
    rng = np.random.default_rng(7)
    given = evidence(rng, 2_000, 0.88, rate=0.5)
    high = np.clip(given.challenger.values + 0.06, 0.01, 0.99)
    assert "calibration" not in vetoes(judge(given))
    assert "calibration" in vetoes(judge(altered(given, values=high)))


def test_too_few_events_are_not_judged() -> None:
    rng = np.random.default_rng(6)
    truth, old, (new,) = drawn(rng, 400, 0.8, COMMON)
    truth[np.flatnonzero(truth == 1)[19:]] = 0
    verdict = judge(built(truth, old, new))
    assert verdict.p_value is None
    assert "19 of the rarer class, too few to judge (asked for: at least 20)" in verdict.sentence


@pytest.mark.parametrize("bad", [0.0, 1.0, 1.2, np.nan])
def test_a_probability_that_is_none_is_an_error_that_names_it(better: Evidence, bad: float) -> None:
    values = better.challenger.values.copy()
    values[3] = bad
    with pytest.raises(ValueError, match=rf"challenger values: {bad} in judged row 4"):
        judge(altered(better, values=values))
    with pytest.raises(ValueError, match=r"truth: 0\.5 in judged row 1"):
        judge(replace(better, truth=np.full(len(better.truth), 0.5)))
