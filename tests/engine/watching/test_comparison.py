"""Live traffic: who is compared with whom, and what may be said however often one looks."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.domain.judgement import ALPHA, MINIMUM_EFFECT
from engine.domain.kinds import BINARY, POSITIVE, REAL, TargetKind
from engine.domain.record import DEGRADED, JoinedRecord, Outcome, Record
from engine.domain.schema import Vector
from engine.domain.traffic import CANARY, SHADOW, TEST, Traffic, Variant
from engine.domain.version import Version
from engine.stores.memory_records import MemoryRecords
from engine.watching.comparison import BETTER, HARMS, OPEN, WORSE, Comparison, compare, report
from engine.watching.groups import RecordedAnswers
from engine.watching.recent import recent_records as newest
from engine.watching.sequence import (
    FEWEST,
    Means,
    apart,
    improvement,
    mean,
    paired,
    ratio_of_medians,
    reach,
)
from tests.blocks import put

OLD, NEW = "v1.0.0", "v1.1.0-rc.1"
SPREAD = 0.2
STREAMS = 400
EVENT_STREAMS = 100
LEVEL = 0.9


def most(chance: float, decisions: int = STREAMS) -> float:
    """The rate that `decisions` exceed in one of ten thousand runs, when each errs by `chance`."""
    return float(stats.binom.isf(1e-4, decisions, chance)) / decisions


def said(
    number: int,
    variant: str = "champion",
    version: str = OLD,
    *,
    value: float | None = 100.0,
    actual: float | None = None,
    **changes: Any,
) -> JoinedRecord:
    """A record of its own row, with an interval of 20 % to either side."""
    lower, upper = (None, None) if value is None else (0.8 * value, 1.2 * value)
    error = "ValueError" if value is None else None
    at = f"2026-11-01T00:00:{number % 60:02}.000Z"
    record = Record(
        f"request-{number}",
        at,
        "housing",
        version,
        variant,
        {"size": float(number), "age": 1.0},
        value,
        lower,
        upper,
        LEVEL,
        "request",
        latency_us=20.0,
        error=error,
    )
    outcome = None if actual is None else Outcome(record.id, actual, at)
    return JoinedRecord(replace(record, **changes), outcome)


def split(*modes: str) -> Traffic:
    versions = [
        Version.parse(NEW.replace("rc.1", f"rc.{number + 1}")) for number in range(len(modes))
    ]
    return Traffic(tuple(Variant(v, mode) for v, mode in zip(versions, modes, strict=True)))


def seen(mode: str, joined: list[JoinedRecord], kind: TargetKind = POSITIVE) -> Comparison:
    return report(
        kind, split(mode), Version.parse(OLD), since="2026-11-01", joined=joined
    ).comparisons[0]


def test_a_shadow_is_paired_with_the_champions_answer_to_the_same_question() -> None:
    """Neither another id, nor what was pinned, is compared; one outcome serves both."""
    joined = [
        said(1),
        said(1, "pinned", value=500.0, actual=102.0),
        said(1, SHADOW, NEW, value=98.0, actual=102.0),
        said(2, "pinned", value=500.0, actual=100.0),
        said(2, SHADOW, NEW, value=98.0, actual=100.0),
        said(3, value=500.0, actual=100.0),
    ]
    found = seen(SHADOW, joined)
    assert (found.champion.predictions, found.variant.predictions) == (1, 1)
    assert found.champion.loss == pytest.approx(math.log(1.02))
    assert found.variant.loss == pytest.approx(math.log(102 / 98))


def test_groups_hold_only_what_was_assigned() -> None:
    joined = [
        said(1, actual=110.0),
        said(2, "pinned", actual=900.0),
        said(3, "fallback", actual=900.0),
        said(4, version="v0.9.0", actual=900.0),
        said(5, TEST, NEW, actual=105.0),
        said(6, "pinned", NEW, actual=900.0),
        said(7, CANARY, NEW, actual=900.0),
    ]
    found = seen(TEST, joined)
    assert (found.champion.predictions, found.variant.predictions) == (1, 1)
    assert found.champion.loss == pytest.approx(math.log(1.1))
    assert found.variant.loss == pytest.approx(math.log(1.05))


def test_many_rows_of_one_unit_weigh_as_much_as_one_row() -> None:
    busy = [said(n, actual=100 * math.e, unit="busy") for n in range(99)]
    found = seen(TEST, [*busy, said(100, actual=100.0, unit="quiet")])
    assert (found.champion.predictions, found.champion.units) == (100, 2)
    assert found.champion.loss == pytest.approx(0.5)


def test_a_unit_that_is_not_named_is_known_by_its_features_in_any_order() -> None:
    rows = [{"size": 1.0, "age": 2.0}, {"age": 2.0, "size": 1.0}, {"size": 2.0, "age": 1.0}]
    found = seen(TEST, [said(number, row=row) for number, row in enumerate(rows)])
    assert found.champion.units == 2


def test_a_failed_answer_is_counted_and_the_others_are_compared() -> None:
    """What is no positive number is a failure, too."""
    bad = {3: None, 4: 0.0, 5: math.nan}
    joined = [said(n, actual=110.0) for n in range(10)]
    joined += [said(n, SHADOW, NEW, value=bad.get(n, 100.0), actual=110.0) for n in range(10)]
    found = seen(SHADOW, joined)
    assert (found.variant.predictions, found.variant.errors, found.variant.outcomes) == (10, 3, 7)
    assert (found.variant.error_share, found.champion.error_share) == (0.3, 0.0)
    assert found.variant.loss == found.champion.loss == pytest.approx(math.log(1.1))
    assert found.verdict == WORSE
    assert found.sentence == f"{NEW} is worse: 3 of 10 predictions failed."


def test_a_single_failure_is_forgiven() -> None:
    joined = [said(n, TEST, NEW, value=None if n == 7 else 100.0) for n in range(10)]
    assert seen(TEST, joined).verdict == OPEN


@pytest.mark.parametrize("versions", [None, (OLD, NEW)])
def test_a_look_finds_the_newest_answers_and_the_newest_truths_however_late(
    monkeypatch: pytest.MonkeyPatch, versions: tuple[str, str] | None
) -> None:
    """Only the oldest have outcomes yet; both answers to a question come together."""
    monkeypatch.setattr("engine.watching.recent.LOOKED_AT", 4)
    records = MemoryRecords()
    answered = [said(n, *who) for n in range(12) for who in (("champion", OLD), (SHADOW, NEW))]
    put(records, [one.record for one in answered])
    late = [Outcome(f"request-{n}", 100.0, "2026-11-15T00:00:00.000Z") for n in range(5)]
    records.label("housing", late)
    since = "2026-11-01T00:00:01.000Z"
    joined = newest(records, "housing", since=since, versions=versions)
    found = [(one.record.id.removeprefix("request-"), one.record.version) for one in joined]
    assert found == [(n, version) for n in ("3", "4", "10", "11") for version in (OLD, NEW)]
    assert [one.outcome is not None for one in joined] == [True] * 4 + [False] * 4
    assert newest(records, "housing", since="2026-11-02", versions=versions) == []


def test_an_answer_that_is_among_both_is_counted_once() -> None:
    records = MemoryRecords()
    put(records, [said(1).record])
    records.label("housing", [Outcome("request-1", 100.0, "2026-11-15T00:00:00.000Z")])
    assert len(newest(records, "housing", since=None)) == 1


def test_before_anything_was_seen_the_report_says_so_without_nan() -> None:
    for mode in (TEST, CANARY, SHADOW):
        found = report(POSITIVE, split(mode), Version.parse(OLD), since=None, joined=[]).as_json()
        json.dumps(found, allow_nan=False)
        sentence = (
            f"No difference shown yet for {NEW}: no outcomes of its predictions are known yet."
        )
        assert found["comparisons"][0]["sentence"] == sentence


@pytest.mark.parametrize("mode", [TEST, SHADOW])
def test_fewer_units_than_the_burn_in_get_no_bounds(mode: str) -> None:
    def told(n: int) -> Comparison:
        joined = [said(k, actual=110.0 + k % 3) for k in range(n)]
        joined += [said(k, mode, NEW, value=101.0, actual=110.0 + k % 3) for k in range(n)]
        return seen(mode, joined)

    few, enough = told(FEWEST - 1), told(FEWEST)
    for name in ("improvement", "coverage", "latency"):
        assert getattr(few, name) is None
        assert getattr(enough, name) is not None
    json.dumps([few.as_json(), enough.as_json()], allow_nan=False)
    assert "49 of its outcomes known, bounds need 50 units on either side" in few.sentence


def test_several_variants_share_the_level() -> None:
    found = report(
        POSITIVE, split(TEST, TEST, SHADOW), Version.parse(OLD), since=None, joined=[]
    ).comparisons
    assert [one.alpha for one in found] == [ALPHA / 3] * 3


def test_identical_predictions_differ_by_nothing_at_all() -> None:
    rng = np.random.default_rng(0)
    joined = []
    for n, actual in enumerate(rng.lognormal(5, 0.3, 200)):
        joined += [said(n, actual=actual), said(n, SHADOW, NEW, actual=actual)]
    found = seen(SHADOW, joined)
    assert found.improvement is not None
    assert found.agreement is not None
    assert found.agreement.share is not None
    assert (found.improvement.low, found.improvement.high) == pytest.approx((0, 0), abs=1e-6)
    assert (found.agreement.distance, found.agreement.share.estimate) == (0, 1)
    assert (found.verdict, found.more_outcomes) == (OPEN, None)
    figure = "the mean |log error| is 0 % lower, between 0 % lower and 0 % lower (200 outcomes)"
    assert found.sentence == (
        f"No difference shown yet for {NEW}: {figure}; a gain below 0.5 % would not count."
    )


def test_the_reach_is_where_the_mixture_arrives_at_one_in_alpha() -> None:
    """At least there, by Ville; and hardly farther, or power is given away."""
    for alpha in (0.05, 0.01, 0.001):
        tail = -2 * math.log(2 * alpha)
        for n in (50, 500, 5_000, 500_000):
            u, z = n * (tail + math.log(tail) + 1) / 500, reach(n, alpha)
            drift = z * math.sqrt(u / (1 + u))
            mixture = 2 / math.sqrt(1 + u) * math.exp(drift**2 / 2) * stats.norm.cdf(drift)
            assert 1 <= mixture * alpha <= 1.06


def test_bounds_of_the_improvement_are_where_the_test_is_undecided() -> None:
    rng = np.random.default_rng(1)
    old, new = np.abs(rng.standard_t(3, (2, 500)))
    for means in (paired(old, new), apart(old, new)):
        assert means is not None
        found = improvement(means, below=0.05, above=0.01)
        assert found is not None
        for share, alpha, sign in ((found.low, 0.05, 1), (found.high, 0.01, -1)):
            gap = (1 - share) * means.old - means.new
            error = math.sqrt(means.variance(1 - share))
            assert sign * gap / error == pytest.approx(reach(means.n, alpha))


def losses(rng: np.random.Generator, n: int) -> tuple[Vector, Vector]:
    """Of two equal models on the same n rows: heavy tails (t with 3 degrees of freedom), most of
    the error shared."""
    shared, old, new = rng.standard_t(3, (3, n)) * SPREAD
    return np.abs(shared + 0.4 * old), np.abs(shared + 0.4 * new)


def skewed(rng: np.random.Generator, n: int) -> tuple[Vector, Vector]:
    """A twentieth of the rows makes up 44 % of the loss."""
    old, new = rng.lognormal(0, 1.5, (2, n))
    return old, new


Draw = Callable[[np.random.Generator, int], tuple[Vector, Vector]]
EventDraw = Callable[[np.random.Generator, int], tuple[Vector, Vector, Vector]]
Look = Callable[[Vector, Vector, int], Means | None]


def of_pairs(old: Vector, new: Vector, n: int) -> Means | None:
    return paired(old[:n], new[:n])


def of_a_share(every: int) -> Look:
    """One unit in `every` is the variant's, all others are the champion's."""

    def look(old: Vector, new: Vector, n: int) -> Means | None:
        is_new = np.arange(n) % every == 0
        return apart(old[:n][~is_new], new[:n][is_new])

    return look


@pytest.mark.parametrize(
    ("draw", "look", "n", "ratio"),
    [
        (losses, of_pairs, 2_000, 1.0),
        (losses, of_pairs, 2_000, 1 - MINIMUM_EFFECT),
        (losses, of_a_share(2), 2_000, 1 - MINIMUM_EFFECT),
        (skewed, of_a_share(10), 4_000, 1.0),
        (skewed, of_a_share(100), 20_000, 1.0),
    ],
)
def test_what_is_not_better_enough_is_seldom_called_so_at_any_of_many_looks(
    draw: Draw, look: Look, n: int, ratio: float
) -> None:
    """With the bounds of a single look, about a third of these streams are called better; in the
    last case it is a sixth where a small group is believed to vary as little as it happens to."""
    rng = np.random.default_rng(2)
    looks = np.unique(np.geomspace(n / 20, n, 40).astype(int))
    better = worse = 0
    for _ in range(STREAMS):
        old, new = draw(rng, n)
        found = [improvement(look(old, ratio * new, k), ALPHA, ALPHA) for k in looks]
        better += any(f is not None and f.low >= MINIMUM_EFFECT for f in found)
        worse += any(f is not None and f.high < 0 for f in found)
    assert max(better, worse) / STREAMS <= most(ALPHA)


def told(chances: Vector, happened: Vector) -> RecordedAnswers:
    """A unit each row, whose bounds are of the probability, and as narrow as can be."""
    n = len(chances)
    return RecordedAnswers(
        BINARY,
        np.arange(n),
        chances,
        lower=chances,
        upper=chances,
        level=np.full(n, LEVEL),
        latency_us=np.full(n, 20.0),
        actual=happened,
    )


def alike(rng: np.random.Generator, n: int) -> tuple[Vector, Vector, Vector]:
    """What two models of an event say that miss its true log-odds alike, and whether it happened:
    to three rows in ten."""
    true = rng.normal(-1, 1, n)
    old, new = true + rng.normal(0, 0.4, (2, n))
    return likely(old), likely(new), (rng.random(n) < likely(true)).astype(float)


def likely(odds: Vector) -> Vector:
    return 1 / (1 + np.exp(-odds))


def said_of_rare(old: float, new: float) -> EventDraw:
    """Two models that say one thing of every row, and an event as likely as makes them equal."""
    a, b = math.log((1 - new) / (1 - old)), math.log(old / new)

    def draw(rng: np.random.Generator, n: int) -> tuple[Vector, Vector, Vector]:
        return np.full(n, old), np.full(n, new), (rng.random(n) < a / (a + b)).astype(float)

    return draw


@pytest.mark.parametrize("mode", [SHADOW, TEST])
@pytest.mark.parametrize(
    "draw",
    [alike, said_of_rare(0.001, 0.0005), said_of_rare(0.0001, 0.01), said_of_rare(0.99, 0.995)],
    ids=["three in ten", "rare", "rare, and said to be", "all but certain"],
)
def test_of_two_equal_models_of_an_event_none_is_called_better_or_worse_at_any_look(
    mode: str, draw: EventDraw
) -> None:
    """While a rare event has not happened, who gives it less is better on every row: where its
    loss is believed to vary no more than was seen, up to 83 % of these streams are misjudged."""
    rng = np.random.default_rng(10)
    looks = np.unique(np.geomspace(FEWEST, 1_500, 10).astype(int))
    better = worse = 0
    for _ in range(EVENT_STREAMS):
        old, new, happened = draw(rng, 1_500)
        before = happened
        if mode == TEST:
            old, _, before = draw(rng, 1_500)
        found = [
            compare(
                mode,
                (OLD, told(old[:n], before[:n])),
                (NEW, told(new[:n], happened[:n])),
                share=0.5,
                alpha=ALPHA,
            ).verdict
            for n in looks
        ]
        better += BETTER in found
        worse += WORSE in found
    assert max(better, worse) <= stats.binom.isf(1e-4, EVENT_STREAMS, ALPHA)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_coverage_that_is_as_claimed_is_seldom_called_other_at_any_look(level: float) -> None:
    """Both bounds, from the fewest units on: of few units often all are covered."""
    rng = np.random.default_rng(3)
    below = above = 0
    for _ in range(STREAMS):
        gaps = (rng.uniform(size=2_000) < level).astype(float) - level
        looks = np.unique(np.geomspace(FEWEST, 2_000, 40).astype(int))
        found = [mean(gaps[:k], ALPHA, is_share=True) for k in looks]
        below += any(f is not None and f.high < 0 for f in found)
        above += any(f is not None and f.low > 0 for f in found)
    assert max(below, above) / STREAMS <= most(ALPHA)


def test_units_that_all_agree_leave_doubt() -> None:
    found = mean(np.full(60, 0.1), ALPHA, is_share=True)
    assert found is not None
    assert found.high - found.low > 2 * 3 / 60  # a fixed-n bound by the rule of three, either side


def test_medians_are_compared_without_regard_to_tails() -> None:
    """Cauchy tails have no mean; a median half as long again is seen, an equal one is not."""
    rng = np.random.default_rng(4)
    old, new = 20 * np.exp(0.3 * rng.standard_cauchy((2, 2_000)))
    same, slow = ratio_of_medians(old, new, 0.01), ratio_of_medians(old, 1.5 * new, 0.01)
    assert same is not None
    assert slow is not None
    assert same.low < 1 < same.high
    assert slow.low > 1.2


def test_a_median_is_seldom_called_larger_at_any_look() -> None:
    """Beside a champion that always takes as long as its median; half the level is for that."""
    rng = np.random.default_rng(5)
    old, wrong = np.full(FEWEST, np.exp(3)), 0
    looks = np.unique(np.geomspace(FEWEST, 2_000, 30).astype(int))
    for _ in range(STREAMS):
        new = rng.lognormal(3, 1, 2_000)
        found = [ratio_of_medians(old, new[:k], 2 * ALPHA) for k in looks]
        wrong += any(f is not None and f.low > 1 for f in found)
    assert wrong / STREAMS <= most(ALPHA)


def answers(log_errors: Vector, margin: float = 2.0, latency: float = 20.0) -> RecordedAnswers:
    """A unit each row; the truth is 100."""
    n = len(log_errors)
    value = 100 * np.exp(log_errors)
    ends = value / np.exp(margin), value * np.exp(margin)
    columns = (value, *ends, np.full(n, LEVEL), np.full(n, latency), np.full(n, 100.0))
    return RecordedAnswers(POSITIVE, np.arange(n), *columns)


def beside(mode: str, ratio: float, *, width: float = 1.0, latency: float = 20.0) -> Comparison:
    """A variant whose errors are `ratio` times as large as an equal model's, and its intervals
    `width` times as wide, on the scale of the logarithm."""
    rng = np.random.default_rng(6)
    shared, old, new = rng.standard_t(3, (3, 2_000)) * SPREAD
    if mode != SHADOW:
        rng.shuffle(shared)
    margin = float(np.quantile(np.abs(shared + 0.4 * old), LEVEL))
    champion, variant = answers(shared + 0.4 * old, margin), ratio * (shared + 0.4 * new)
    said = answers(variant, width * margin, latency)
    return compare(mode, (OLD, champion), (NEW, said), share=0.5, alpha=ALPHA)


@pytest.mark.parametrize(("mode", "ratio"), [(SHADOW, 0.9), (TEST, 0.75)])
def test_a_variant_that_is_clearly_better_is_called_so(mode: str, ratio: float) -> None:
    found = beside(mode, ratio)
    assert found.verdict == BETTER
    assert found.sentence.startswith(f"{NEW} is better: the mean |log error| is ")
    assert found.sentence.endswith("% lower (2,000 outcomes).")


@pytest.mark.parametrize(("mode", "ratio"), [(SHADOW, 1.1), (TEST, 1.35)])
def test_a_variant_that_is_clearly_worse_is_called_so(mode: str, ratio: float) -> None:
    found = beside(mode, ratio)
    assert found.verdict == WORSE
    assert "is worse: " in found.sentence
    assert "the mean |log error| is " in found.sentence


@pytest.mark.parametrize(
    ("width", "latency", "reason"),
    [
        (0.5, 20.0, "percentage points below what the intervals claim"),
        (1.0, 30.0, "a prediction takes 1.5 times as long as the champion's, at least 1.5"),
    ],
)
def test_a_more_accurate_variant_is_worse_where_a_guardrail_objects(
    width: float, latency: float, reason: str
) -> None:
    found = beside(TEST, 0.75, width=width, latency=latency)
    assert found.improvement is not None
    assert found.improvement.low > MINIMUM_EFFECT
    assert found.verdict == WORSE
    assert reason in found.sentence


def test_coverage_below_its_level_is_no_reproach_where_the_champion_covers_as_little() -> None:
    rng = np.random.default_rng(7)
    old, new = (answers(log_errors, 0.1) for log_errors in rng.normal(0, 0.1, (2, 2_000)))
    found = compare(TEST, (OLD, old), (NEW, new), share=0.5, alpha=ALPHA)
    assert found.variant.coverage_gap is not None
    assert found.variant.coverage_gap.high < -0.1
    assert found.verdict == OPEN


def test_the_latency_of_a_shadow_is_told_but_is_no_reproach() -> None:
    found = beside(SHADOW, 1.0, latency=40.0)
    assert found.latency is not None
    assert found.latency.low == pytest.approx(2)
    assert found.verdict == OPEN


def test_it_says_how_many_more_outcomes_the_present_difference_would_take() -> None:
    """With as many rows of the same kind the difference is shown, with half as many it is not."""
    rng = np.random.default_rng(8)
    old, new = losses(rng, 300)
    joined = [said(n, actual=100 * math.exp(loss)) for n, loss in enumerate(old)]
    joined += [
        said(
            n,
            SHADOW,
            NEW,
            value=100 * math.exp(old[n] - 0.97 * new[n]),
            actual=100 * math.exp(old[n]),
        )
        for n in range(300)
    ]
    found = seen(SHADOW, joined)
    more = found.more_outcomes
    assert found.verdict == OPEN
    assert more is not None
    assert f"; if that is real, about {more:,} more outcomes will show it." in found.sentence
    times = 1 + more / 300
    for longer, shown in ((times, True), (times / 2, False)):
        rows = int(300 * longer)
        again = paired(np.tile(old, 100)[:rows], np.tile(0.97 * new, 100)[:rows])
        bounds = improvement(again, ALPHA, ALPHA / HARMS)
        assert bounds is not None
        assert (bounds.low >= MINIMUM_EFFECT or bounds.high < 0) is shown


def test_a_report_of_fifty_thousand_records_stays_plain_json() -> None:
    rng = np.random.default_rng(9)
    actual = rng.lognormal(5, 0.3, 25_000)
    joined = []
    for n, truth in enumerate(actual.tolist()):
        joined += [said(n, actual=truth), said(n, SHADOW, NEW, value=101.0, actual=truth)]
    found = report(POSITIVE, split(SHADOW), Version.parse(OLD), since="2026-11-01", joined=joined)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False)) == found.as_json()
    assert found.comparisons[0].variant.outcomes == 25_000


def test_two_groups_of_a_hundred_know_as_much_as_fifty_pairs() -> None:
    means = apart(np.arange(100.0), np.arange(100.0))
    assert means is not None
    assert means.n == 50
    assert apart(np.ones(49), np.ones(500)) is None


LABELS = {POSITIVE: "|log error|", REAL: "|error|", BINARY: "log loss"}


@pytest.mark.parametrize(
    ("kind", "champion", "variant", "actual", "old", "new"),
    [
        (POSITIVE, 100.0, 50.0, 200.0, math.log(2), math.log(4)),
        (REAL, -3.0, 0.0, -1.0, 2.0, 1.0),
        (BINARY, 0.25, 0.5, 0.0, -math.log(0.75), -math.log(0.5)),
        (BINARY, 0.25, 0.5, 1.0, -math.log(0.25), -math.log(0.5)),
    ],
)
@pytest.mark.parametrize("mode", [TEST, SHADOW])
def test_each_kind_of_target_is_judged_by_its_own_loss(
    kind: TargetKind,
    champion: float,
    variant: float,
    actual: float,
    old: float,
    new: float,
    mode: str,
) -> None:
    joined = []
    for n in range(2 * FEWEST):
        joined += [
            said(n, value=champion, actual=actual),
            said(n, mode, NEW, value=variant, actual=actual),
        ]
    found = seen(mode, joined, kind)
    assert (found.champion.loss, found.variant.loss) == pytest.approx((old, new))
    assert found.judged_by == LABELS[kind]
    assert f"the mean {LABELS[kind]} is " in found.sentence
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (POSITIVE, [0.1, 1e9], [0.0, -1.0, math.inf, math.nan]),
        (REAL, [0.0, -1.0], [math.inf, -math.inf, math.nan]),
        (BINARY, [1e-300, 0.5], [0.0, 1.0, -0.1, math.nan]),
    ],
)
def test_what_is_no_answer_for_its_kind_has_failed(
    kind: TargetKind, right: list[float], wrong: list[float]
) -> None:
    values = [*right, *wrong]
    found = seen(
        TEST, [said(n, TEST, NEW, value=v, actual=1.0) for n, v in enumerate(values)], kind
    )
    assert (found.variant.errors, found.variant.outcomes) == (len(wrong), len(right))


@pytest.mark.parametrize("of_shadow", [True, False])
def test_an_event_that_did_not_happen_is_an_outcome_wherever_it_stands(of_shadow: bool) -> None:
    """0 is a truth like any other."""
    known, unknown = said(1, value=0.2, actual=0.0), said(1, value=0.2)
    shadow = said(1, SHADOW, NEW, value=0.2, actual=0.0 if of_shadow else None)
    found = seen(SHADOW, [unknown if of_shadow else known, shadow], BINARY)
    assert found.variant.outcomes == found.champion.outcomes == 1


def test_bounds_of_a_probability_are_no_coverage_and_no_harm() -> None:
    """They hold neither 0 nor 1, and are not meant to."""
    rng = np.random.default_rng(11)
    chances = rng.uniform(0.01, 0.99, 2_000)
    happened = (rng.random(2_000) < chances).astype(float)
    narrow = told(chances, happened)
    found = compare(SHADOW, (OLD, narrow), (NEW, narrow), share=0.0, alpha=ALPHA)
    assert (found.champion.coverage_gap, found.variant.coverage_gap, found.coverage) == (None,) * 3
    assert found.agreement is not None
    assert (found.agreement.distance, found.agreement.width) == (0, None)
    assert found.verdict == OPEN
    quantity = replace(narrow, kind=REAL)
    other = compare(SHADOW, (OLD, quantity), (NEW, quantity), share=0.0, alpha=ALPHA)
    assert other.coverage is not None


@pytest.mark.parametrize(("times", "verdict"), [(0.5, BETTER), (2.0, WORSE)])
@pytest.mark.parametrize("mode", [SHADOW, TEST])
def test_a_model_that_knows_more_of_an_event_is_called_better(
    mode: str, times: float, verdict: str
) -> None:
    """The champion misses the true log-odds by 1 (standard deviation), the variant by `times`."""
    rng = np.random.default_rng(12)
    true = rng.normal(-1, 1, (2, 5_000))
    happened = (rng.random(true.shape) < likely(true)).astype(float)
    own = 1 if mode == TEST else 0
    old = told(likely(true[0] + rng.normal(0, 1, 5_000)), happened[0])
    new = told(likely(true[own] + rng.normal(0, times, 5_000)), happened[own])
    found = compare(mode, (OLD, old), (NEW, new), share=0.5, alpha=ALPHA)
    assert found.verdict == verdict
    assert "the mean log loss is " in found.sentence


def test_answers_to_a_fallback_row_take_no_part() -> None:
    joined = [said(n, DEGRADED, value=1.0, actual=900.0) for n in range(9)]
    joined += [said(n, DEGRADED, NEW, value=1.0, actual=900.0) for n in range(9, 18)]
    joined += [said(20, actual=110.0), said(21, TEST, NEW, actual=105.0)]
    found = seen(TEST, joined)
    assert (found.champion.predictions, found.variant.predictions) == (1, 1)
    assert found.champion.loss == pytest.approx(math.log(1.1))


def test_units_are_told_apart_by_categories_and_what_is_missing_may_be_absent() -> None:
    rows = [
        {"plan": "free", "age": None},
        {"plan": "free"},
        {"age": None, "plan": "free"},
        {"plan": "paid", "age": None},
        {"plan": "free", "age": 3.0},
        {},
    ]
    found = seen(TEST, [said(number, row=row) for number, row in enumerate(rows)])
    assert found.champion.units == 4
