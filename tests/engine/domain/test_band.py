"""Bounds around a probability hold the true one as often as they say, and are of use."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.domain.band import at_least, nearest
from engine.domain.conformal import Outputs
from engine.domain.prediction import Interval
from engine.domain.schema import Vector
from engine.domain.venn_abers import LEVELS, VennAbers
from engine.judging.probabilities import CHANCE, Bin, bins, by_chance

DRAWS = 150
WORLDS = 60
EXACT = 10**7
"""Calibration rows of probabilities that have no error of their own."""


def outputs(scores: Vector) -> Outputs:
    return Outputs.of(scores[:, None])


def truth(scores: Any) -> Vector:
    return np.asarray(1 / (1 + np.exp(1.5 - scores)))


def drawn(rows: int, seed: int) -> tuple[Vector, Vector]:
    """Ascending scores, and events."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(size=rows))
    return scores, (rng.random(rows) < truth(scores)).astype(float)


def calibrated(rows: int, seed: int) -> VennAbers:
    scores, events = drawn(rows, seed)
    return VennAbers.fitted(outputs(scores), events)


def test_a_side_is_bounded_exactly_as_clopper_and_pearson_do() -> None:
    happened, rows = np.array([0, 1, 5, 50, 137]), np.array([137, 137, 20, 137, 137])
    exact = stats.beta.ppf(0.05, happened, rows - happened + 1)
    assert at_least(happened, rows, 0.05) == pytest.approx(np.nan_to_num(exact), abs=1e-7)


def bounds_by_hand(events: Vector, level: float) -> Interval:
    """Clopper and Pearson's for the rows nearest to each, on either side and itself."""
    rows, most = np.arange(len(events)), nearest(len(events))
    tail, total = (1 - level) / 2, np.append(0, np.cumsum(events))
    first, last = np.maximum(rows + 1 - most, 0), np.minimum(rows + most, len(events))
    below, above = rows + 1 - first, last - rows
    happened, will = total[rows + 1] - total[first], total[last] - total[rows]
    lower = stats.beta.ppf(tail, happened, below - happened + 1)
    upper = stats.beta.ppf(1 - tail, will + 1, above - will)
    return Interval(np.nan_to_num(lower), np.nan_to_num(upper, nan=1.0), level)


@pytest.mark.parametrize("level", LEVELS)
def test_bounds_are_those_of_the_nearest_rows_at_the_level_that_is_asked_for(level: float) -> None:
    """Or where the two Venn-Abers probabilities lie outside of them; they seldom do."""
    scores, events = drawn(300, 2)
    calibration, asked = VennAbers.fitted(outputs(scores), events), outputs(scores)
    found, exact = calibration.interval(asked, level), bounds_by_hand(events, level)
    low, high = calibration.pair(asked)
    assert found.lower == pytest.approx(np.minimum(low, exact.lower), abs=1e-6)
    assert found.upper == pytest.approx(np.maximum(high, exact.upper), abs=1e-6)
    assert np.mean(exact.lower < low) > 0.5
    assert np.mean(exact.upper > high) > 0.5


def test_between_two_levels_the_higher_one_is_kept() -> None:
    calibration, asked = calibrated(300, 2), outputs(np.linspace(-2, 2, 50))
    between, higher = (calibration.interval(asked, level) for level in (0.72, 0.8))
    assert np.array_equal(between.lower, higher.lower)
    assert np.array_equal(between.upper, higher.upper)


def test_the_true_probability_lies_inside_as_often_as_the_level_says() -> None:
    """One new score for each set of held-out rows: hits are independent."""
    scores = np.random.default_rng(9).normal(size=DRAWS)
    sets = [calibrated(100, draw) for draw in range(DRAWS)]
    for level in (0.8, 0.95):
        hits = 0
        for one, score in zip(sets, scores, strict=True):
            bounds = one.interval(outputs(np.array([score])), level)
            hits += int(bounds.lower[0] <= truth(score) <= bounds.upper[0])
        assert hits / DRAWS > level - 3 * (level * (1 - level) / DRAWS) ** 0.5


def test_more_rows_say_more_and_the_point_lies_inside_at_every_level() -> None:
    """Of n rows n^(2/3) are counted, so that widths shrink by n^(1/3): 10^(1/3) = 2.2 times from
    300 to 3,000, and 1 / 0.7 is asked for."""
    scores = outputs(np.linspace(-3, 3, 200))
    few, many = calibrated(300, 1), calibrated(3_000, 1)
    widths = [one.interval(scores, 0.9) for one in (few, many)]
    assert np.mean(widths[1].upper - widths[1].lower) < 0.7 * np.mean(
        widths[0].upper - widths[0].lower
    )
    inner = many.interval(scores, 0.5)
    for level in (0.5, 0.72, 0.9, 0.99):
        bounds = many.interval(scores, level)
        assert (bounds.lower <= many.values(scores)).all()
        assert (many.values(scores) <= bounds.upper).all()
        assert (bounds.lower <= inner.lower).all()
        assert (inner.upper <= bounds.upper).all()
        everyone = many.widest(scores, level)
        assert (everyone.lower <= bounds.lower.min() + 1e-12).all()


def worlds(calibration_rows: int, judged_rows: int) -> Iterator[tuple[Vector, Vector]]:
    """What is said, and what happens, when the order of rows is right and nothing moves."""
    for draw in range(WORLDS):
        calibration = calibrated(calibration_rows, draw)
        scores, events = drawn(judged_rows, WORLDS + draw)
        yield calibration.values(outputs(scores)), events


def outside(parts: list[Bin], calibration_rows: int) -> float:
    """The share of bins that lie off their bar."""
    low, high = by_chance(parts, calibration_rows)
    happened = np.array([one.happened for one in parts])
    return float(np.mean((happened < low - 1e-9) | (happened > high + 1e-9)))


def test_bars_of_a_reliability_diagram_miss_no_more_bins_than_they_say() -> None:
    """425 rows calibrate and 799 judge: their own chance is not all. Worlds are independent, which
    gives the slack; bars for judged rows alone miss far more."""
    parts = [list(bins(said, happened)) for said, happened in worlds(425, 799)]
    missed, as_if_exact = (
        np.array([outside(found, rows) for found in parts]) for rows in (425, EXACT)
    )
    assert missed.mean() <= 1 - CHANCE + 3 * missed.std(ddof=1) / WORLDS**0.5
    assert as_if_exact.mean() > 1 - CHANCE + 3 * as_if_exact.std(ddof=1) / WORLDS**0.5


def test_a_bar_is_the_chance_of_the_judged_rows_and_of_those_that_calibrated() -> None:
    """n judged and m calibration rows: the variance of the one is 1 + n / m times a binomial's."""
    parts = [Bin(rows=400, said=0.3, happened=0.3), Bin(rows=400, said=0.3, happened=0.3)]
    for calibration_rows, larger in ((EXACT, 1.0), (800, 2.0), (400, 3.0)):
        (low, _), (high, _) = by_chance(parts, calibration_rows)
        half = stats.norm.isf((1 - CHANCE) / 2) * (larger * 0.3 * 0.7 / 400) ** 0.5
        # whole numbers of rows, of 400, on either side
        assert (high - low) / 2 == pytest.approx(half, abs=2 / 400)
