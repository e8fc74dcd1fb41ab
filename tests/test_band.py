"""Bounds around a probability hold the true one as often as they say, and are of use."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.domain.band import at_least
from engine.domain.conformal import Outputs
from engine.domain.schema import Vector
from engine.domain.venn_abers import VennAbers

DRAWS = 150


def outputs(scores: Vector) -> Outputs:
    return Outputs.of(scores[:, None])


def truth(scores: Any) -> Vector:
    return np.asarray(1 / (1 + np.exp(1.5 - scores)))


def calibrated(rows: int, seed: int) -> VennAbers:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=rows)
    return VennAbers.fitted(outputs(scores), (rng.random(rows) < truth(scores)).astype(float))


def test_a_side_is_bounded_exactly_as_clopper_and_pearson_do() -> None:
    happened, rows = np.array([0, 1, 5, 50, 137]), np.array([137, 137, 20, 137, 137])
    exact = stats.beta.ppf(0.05, happened, rows - happened + 1)
    assert at_least(happened, rows, 0.05) == pytest.approx(np.nan_to_num(exact), abs=1e-7)


def test_the_true_probability_lies_inside_as_often_as_the_level_says() -> None:
    """One new score for each set of held-out rows: hits are independent."""
    scores = np.random.default_rng(9).normal(size=DRAWS)
    sets = [calibrated(200, draw) for draw in range(DRAWS)]
    for level in (0.8, 0.95):
        hits = 0
        for one, score in zip(sets, scores, strict=True):
            bounds = one.interval(outputs(np.array([score])), level)
            hits += int(bounds.lower[0] <= truth(score) <= bounds.upper[0])
        assert hits / DRAWS > level - 3 * (level * (1 - level) / DRAWS) ** 0.5


def test_more_rows_say_more_and_the_point_lies_inside_at_every_level() -> None:
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
