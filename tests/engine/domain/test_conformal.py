"""The heart: intervals cover as often as they say, whatever level is asked."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.artifact import Artifact
from engine.domain.conformal import Calibration, Distribution, Outputs, tail_ranks
from engine.domain.errors import UnsupportedConfidence
from engine.domain.schema import Vector
from engine.judging.intervals import covered
from engine.model.runtime import run
from engine.tables.table import Table
from tests.conftest import market

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
DRAWS = 60
CALIBRATION_ROWS = 300
FRESH_ROWS = 500


def ask(artifact: Artifact, table: Table) -> Outputs:
    return run(artifact.graph, table.rows)


def take(outputs: Outputs, rows: slice) -> Outputs:
    return Outputs(**{name: part[rows] for name, part in vars(outputs).items()})


@dataclass(frozen=True)
class Draw:
    """A calibration, and fresh rows to judge it."""

    calibration: Calibration
    outputs: Outputs
    target: Vector


@pytest.fixture(scope="module", params=[0, 1])
def draws(request: pytest.FixtureRequest, artifacts: list[Artifact]) -> list[Draw]:
    """Calibration and fresh rows are drawn anew, the trees of a candidate stay the same."""
    artifact = artifacts[request.param]
    fresh = market(DRAWS * (CALIBRATION_ROWS + FRESH_ROWS), seed=99)
    outputs, log_target = ask(artifact, fresh), np.log(fresh.target)
    made = []
    for start in range(0, len(fresh), CALIBRATION_ROWS + FRESH_ROWS):
        seen = slice(start, start + CALIBRATION_ROWS)
        new = slice(start + CALIBRATION_ROWS, start + CALIBRATION_ROWS + FRESH_ROWS)
        calibration = calibrated(artifact, take(outputs, seen), log_target[seen])
        made.append(Draw(calibration, take(outputs, new), fresh.target[new]))
    return made


def calibrated(artifact: Artifact, outputs: Outputs, log_target: Vector) -> Calibration:
    return Calibration.fitted(distribution_of(artifact), outputs, np.exp(log_target))


def distribution_of(artifact: Artifact) -> Distribution:
    assert isinstance(artifact.calibration, Calibration)
    return artifact.calibration.distribution


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_cover_as_often_as_they_say(draws: list[Draw], level: float) -> None:
    """Exact bounds: level to level + 2 / (n + 1); the spread is that of the beta distribution of
    coverage given the calibration rows, plus that of the fresh rows."""
    variance = level * (1 - level) * (1 / (CALIBRATION_ROWS + 2) + 1 / FRESH_ROWS) / DRAWS
    slack = 3 * variance**0.5
    hits = [covered(one.calibration.interval(one.outputs, level), one.target) for one in draws]
    share = np.mean(hits)
    assert level - slack <= share <= level + 2 / (CALIBRATION_ROWS + 1) + slack


def test_the_promise_breaks_when_rows_that_were_learned_from_calibrate(
    artifacts: list[Artifact], table: Table
) -> None:
    """Shows that the test above can fail: forests know the rows they grew on."""
    forest = artifacts[1]
    known = calibrated(forest, ask(forest, table), np.log(table.target))
    fresh = market(20_000, seed=5)
    share = covered(known.interval(ask(forest, fresh), 0.9), fresh.target).mean()
    assert share < 0.9 - 3 * (0.09 / len(fresh) + 0.09 / len(table)) ** 0.5


@settings(max_examples=60, deadline=None)
@given(
    confidences=st.lists(st.floats(0.5, 0.99), min_size=2, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_intervals_are_positive_ordered_and_nested(
    artifacts: list[Artifact], confidences: list[float], seed: int
) -> None:
    rows = np.random.default_rng(seed).uniform((100, 0, 0, 0, 0), (1e5, 50, 50, 500, 500), (20, 5))
    artifact = artifacts[seed % 2]
    outputs = run(artifact.graph, rows)
    intervals = [artifact.calibration.interval(outputs, c) for c in sorted(confidences)]
    for interval in intervals:
        assert (interval.lower > 0).all()
        assert (interval.lower <= interval.upper).all()
        assert np.isfinite(interval.upper).all()
    for inner, outer in pairwise(intervals):
        assert (outer.lower <= inner.lower).all()
        assert (inner.upper <= outer.upper).all()


@settings(max_examples=200, deadline=None)
@given(n=st.integers(3, 5_000), confidence=st.floats(0.5, 0.99))
def test_the_tails_leave_out_no_more_than_they_may(n: int, confidence: float) -> None:
    """Conformal counting: with n + 1 equally likely places, both tails together hold enough."""
    below, above = tail_ranks(n, confidence)
    if confidence <= 1 - 2 / (n + 1):
        assert 0 <= below <= above < n
        assert (above - below) / (n + 1) >= confidence - 1e-9


def test_ranks_and_quantiles_undo_each_other_even_far_out(artifacts: list[Artifact]) -> None:
    outputs = ask(artifacts[0], market(50, seed=3))
    distribution = distribution_of(artifacts[0])
    for wanted in (-30.0, -6.0, -0.5, 0.0, 2.0, 7.0, 30.0):
        log_target = distribution.quantiles(outputs, np.array([wanted]))[:, 0]
        assert distribution.ranks(outputs, log_target) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_the_expected_price_is_the_mean_of_the_distribution(artifacts: list[Artifact]) -> None:
    outputs = ask(artifacts[0], market(200, seed=4))
    shares = (np.arange(2_000) + 0.5) / 2_000
    distribution = distribution_of(artifacts[0])
    prices = np.exp(distribution.quantiles(outputs, np.log(shares / (1 - shares))))
    assert distribution.mean(outputs) == pytest.approx(prices.mean(axis=1), rel=0.02)


def test_a_level_that_few_calibration_rows_cannot_vouch_for_is_refused(
    artifacts: list[Artifact],
) -> None:
    distribution, fifty = distribution_of(artifacts[0]), np.arange(50.0)
    few = Calibration(distribution, fifty, fifty, np.empty((0, 3)))
    with pytest.raises(
        UnsupportedConfidence, match=r"0\.5 to 0\.9608, the range of 50 calibration rows"
    ):
        few.interval(ask(artifacts[0], market(1, seed=0)), 0.97)
