"""Probabilities that hold: equal to the definition and to the public package, and valid."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.isotonic import IsotonicRegression
from venn_abers import VennAbers as PublicVennAbers

from engine.domain.conformal import Outputs
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers

DRAWS = 100
CALIBRATION_ROWS = 150
FRESH_ROWS = 200


def scored(scores: Vector) -> Outputs:
    return Outputs.of(np.asarray(scores, dtype=float)[:, None])


def sample(rng: np.random.Generator, n: int, *, steps: int | None = None) -> tuple[Vector, Vector]:
    """Scores in (0, 1), in `steps` steps where they shall tie, and events that follow them."""
    scores = rng.uniform(0.01, 0.99, n)
    if steps is not None:
        scores = (np.ceil(scores * steps) - 0.5) / steps
    truth = rng.random(n) < special.expit(4 * (scores - 0.6))
    return scores, truth.astype(float)


def by_definition(scores: Vector, truth: Vector, new: float) -> tuple[float, float]:
    """Isotonic regression with the new row added, once as no event and once as one."""
    found = []
    for label in (0.0, 1.0):
        regression = IsotonicRegression(out_of_bounds="clip")
        regression.fit(np.append(scores, new), np.append(truth, label))
        found.append(float(regression.predict([new])[0]))
    return found[0], found[1]


@pytest.mark.parametrize("steps", [None, 7, 1])
def test_bounds_are_what_isotonic_regression_with_the_row_added_says(steps: int | None) -> None:
    rng = np.random.default_rng(0)
    scores, truth = sample(rng, 60, steps=steps)
    new = np.concatenate((scores[:20], rng.uniform(-0.2, 1.2, 40)))
    calibration = VennAbers.fitted(scored(scores), truth)
    low, high = calibration.pair(scored(new))
    expected = np.array([by_definition(scores, truth, float(one)) for one in new])
    assert low == pytest.approx(expected[:, 0], abs=1e-12)
    assert high == pytest.approx(expected[:, 1], abs=1e-12)
    merged = expected[:, 1] / (1 - expected[:, 0] + expected[:, 1])
    assert calibration.values(scored(new)) == pytest.approx(merged, abs=1e-12)


@pytest.mark.parametrize("steps", [None, 25])
def test_it_equals_the_public_package(steps: int | None) -> None:
    rng = np.random.default_rng(1)
    (scores, truth), (new, _) = sample(rng, 500, steps=steps), sample(rng, 300)
    theirs = PublicVennAbers()
    theirs.fit(both_classes(scores), truth.astype(int))
    merged, bounds = theirs.predict_proba(both_classes(new))
    ours = VennAbers.fitted(scored(scores), truth)
    low, high = ours.pair(scored(new))
    assert low == pytest.approx(bounds[:, 0], abs=1e-9)
    assert high == pytest.approx(bounds[:, 1], abs=1e-9)
    assert ours.values(scored(new)) == pytest.approx(merged[:, 1], abs=1e-9)


def both_classes(chance: Vector) -> Matrix:
    return np.column_stack((1 - chance, chance))


def draws(rng: np.random.Generator, shift: float = 0.0) -> Iterator[tuple[Vector, Vector, Vector]]:
    """Both probabilities and truths of fresh rows, the calibration drawn anew each time; with a
    `shift` the calibration rows are of another world."""
    for _ in range(DRAWS):
        scores = rng.uniform(size=CALIBRATION_ROWS + FRESH_ROWS)
        moved = np.where(np.arange(len(scores)) < CALIBRATION_ROWS, shift, 0.0)
        truth = (rng.random(len(scores)) < special.expit(5 * (scores - 0.7) + moved)).astype(float)
        cut = slice(CALIBRATION_ROWS), slice(CALIBRATION_ROWS, None)
        calibration = VennAbers.fitted(scored(scores[cut[0]]), truth[cut[0]])
        yield *calibration.pair(scored(scores[cut[1]])), truth[cut[1]]


def gaps(shift: float = 0.0) -> tuple[float, float, float]:
    """Mean of the lower less the rate of events, of the upper less it, and 3 standard errors."""
    found = [
        (lower.mean() - truth.mean(), upper.mean() - truth.mean())
        for lower, upper, truth in draws(np.random.default_rng(2), shift)
    ]
    below, above = np.array(found).T
    slack = 3 * max(below.std(ddof=1), above.std(ddof=1)) / DRAWS**0.5
    return float(below.mean()), float(above.mean()), slack


def test_on_average_the_two_hold_the_rate_of_events() -> None:
    """Of the two probabilities one is calibrated, so that no mean of the lower is above the rate
    and none of the upper below it; draws are independent, which gives the slack."""
    below, above, slack = gaps()
    assert below <= slack
    assert above >= -slack


def test_the_promise_breaks_when_calibration_rows_are_of_another_world() -> None:
    """Shows that the test above can fail."""
    below, _, slack = gaps(shift=1.5)
    assert below > slack


def test_one_of_the_two_is_calibrated_at_every_level() -> None:
    """Theorem 1 of Vovk and Petej: the bound that is right in hindsight, upper for an event and
    lower for none, is a calibrated probability: among rows that get p of it, p are events."""
    said, happened = [], []
    for lower, upper, truth in draws(np.random.default_rng(3)):
        said.append(np.where(truth == 1, upper, lower))
        happened.append(truth)
    chosen, truths = np.concatenate(said), np.concatenate(happened)
    borders = np.quantile(chosen, np.linspace(0, 1, 6)[1:-1])
    part = np.searchsorted(borders, chosen)
    for number in range(5):
        rows = part == number
        # rows of one draw share its calibration, whose own error is 150 rows' in five parts
        variance = chosen[rows].mean() * (1 - chosen[rows].mean())
        error = (variance * (1 / rows.sum() + 1 / (DRAWS * CALIBRATION_ROWS / 5))) ** 0.5
        assert abs(truths[rows].mean() - chosen[rows].mean()) < 4 * error


@settings(max_examples=80, deadline=None)
@given(n=st.integers(1, 80), steps=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_probabilities_are_inside_and_between_ordered_bounds(n: int, steps: int, seed: int) -> None:
    """Whatever calibrates, one class only included."""
    rng = np.random.default_rng(seed)
    scores, truth = sample(rng, n, steps=steps)
    calibration = VennAbers.fitted(scored(scores), truth)
    asked = scored(np.sort(rng.uniform(-0.5, 1.5, 40)))
    values, interval = calibration.values(asked), calibration.interval(asked, 0.9)
    low, high = calibration.pair(asked)
    widest = calibration.widest(asked, 0.9)
    assert ((values > 0) & (values < 1)).all()
    assert ((low - 1e-12 <= values) & (values <= high + 1e-12)).all()
    assert ((interval.lower <= low) & (high <= interval.upper)).all()
    assert ((interval.lower >= 0) & (interval.upper <= 1)).all()
    assert (np.diff(values) >= -1e-12).all()
    known = (asked.location >= scores.min()) & (asked.location <= scores.max())
    assert (widest.lower[known] <= interval.lower[known]).all()
    assert (widest.upper[known] >= interval.upper[known]).all()


def test_more_calibration_rows_know_more() -> None:
    """The two differ by one row in a block of isotonic regression, which has about n^(2/3) of the
    rows: ten times as many make that 10^(2/3) = 4.6 times closer, and 2 is asked for."""
    rng = np.random.default_rng(4)
    widths = []
    for n in (50, 500, 5_000):
        scores, truth = sample(rng, n)
        low, high = VennAbers.fitted(scored(scores), truth).pair(
            scored(np.linspace(0.05, 0.95, 50))
        )
        widths.append(float((high - low).mean()))
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_rows_that_are_ranked_by_chance_get_the_base_rate() -> None:
    """3 % events, scores that know nothing: nobody is told much else (a binomial's 1 in 10,000)."""
    rng = np.random.default_rng(5)
    truth = (rng.random(4_000) < 0.03).astype(float)
    calibration = VennAbers.fitted(scored(rng.random(4_000)), truth)
    mean = calibration.values(scored(rng.random(1_000))).mean()
    low, high = stats.binom.interval(0.9999, 4_000, truth.mean())
    assert low / 4_000 < mean < high / 4_000
