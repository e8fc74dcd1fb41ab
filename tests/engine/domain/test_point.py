"""The answer lies inside its interval: at every level, whatever is predicted and of whatever."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.artifact import Artifact
from engine.domain.columns import Number
from engine.domain.conformal import POINTS, Calibration, Distribution, Outputs
from engine.domain.effort import FAST
from engine.domain.kinds import POSITIVE, REAL
from engine.domain.problem import Problem
from engine.domain.schema import Target, Vector
from engine.domain.version import FIRST
from engine.learning.estimators import LEVELS
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.model.runtime import run
from engine.tables.split import split
from engine.tables.table import Table, check
from problems import declared

ROWS = 400
CONFIDENCES = (0.5, 0.51, 0.6, 0.8, 0.9, 0.99)
Rng = np.random.Generator

TARGETS: dict[str, Any] = {
    "heavy right tail": lambda rng: np.exp(3 * rng.standard_t(2, ROWS).clip(-20, 20)),
    "hardly any tail": lambda rng: rng.uniform(1, 1.001, ROWS),
    "two far heaps": lambda rng: (
        np.where(rng.random(ROWS) < 0.9, 1.0, 1e9) * rng.lognormal(size=ROWS)
    ),
    "tiny": lambda rng: 1e-12 * rng.lognormal(0, 2, ROWS),
    "huge": lambda rng: 1e12 * rng.lognormal(0, 2, ROWS),
    "both signs": lambda rng: rng.standard_cauchy(ROWS),
    "skewed down": lambda rng: -rng.lognormal(2, 2, ROWS),
    "many ties": lambda rng: rng.poisson(0.7, ROWS) + 0.0,
}


def known(rng: Rng, target: Vector, *, is_log: bool) -> tuple[Calibration, Outputs]:
    """What a model might say of rows with such targets, good or bad, and what held-out rows add."""
    scaled = np.log(target) if is_log else target
    unit = float(np.std(scaled)) or 1.0
    first, second = rng.uniform(0.1, 5, 2)
    outputs = Outputs(
        location=rng.permutation(scaled) * rng.uniform(-1, 2) + rng.normal(0, unit),
        spread=unit * rng.lognormal(0, 2, ROWS),
        shape=np.sort(rng.beta(first, second, (ROWS, len(LEVELS))), axis=1),
    )
    thresholds = np.cumsum(rng.lognormal(-2, 2, len(LEVELS))) - rng.uniform(0, 5)
    ends = float(scaled.min()), float(scaled.max())
    distribution = Distribution(thresholds, np.array(LEVELS), 0.1 * unit, *ends, is_log)
    return Calibration.fitted(distribution, outputs, target), outputs


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(TARGETS)), point=st.sampled_from(POINTS), seed=st.integers(0, 10**6)
)
def test_the_answer_lies_inside_its_interval_at_every_level(
    name: str, point: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    target = TARGETS[name](rng)
    calibration, outputs = known(rng, target, is_log=bool((target > 0).all()))
    calibration = replace(calibration, distribution=replace(calibration.distribution, point=point))
    answers = [calibration.predict(outputs, level) for level in CONFIDENCES]
    for values, interval in answers:
        assert np.isfinite([values, interval.lower, interval.upper]).all()
        assert (interval.lower <= values).all()
        assert (values <= interval.upper).all()
        assert np.array_equal(values, answers[0][0])
    for (_, inner), (_, outer) in pairwise(answers):
        assert (outer.lower <= inner.lower).all()
        assert (inner.upper <= outer.upper).all()


def costs(rows: int, seed: int) -> Table:
    """Costs of which a tenth are ten times the others, for no reason that a column tells."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 65, rows).round()
    is_dear = rng.random(rows) < 0.1
    cost = 250 * age * np.exp(0.15 * rng.normal(size=rows)) * np.where(is_dear, 12, 1)
    return check(COSTS, {"age": age, "cost": cost}, "costs")[0]


AGE = Number("age", "years", "Age.", 18, 65, 40)
COST = Target("cost", "USD", "What it cost.", 1, 1e7, POSITIVE)
COSTS: Problem = declared.problem("costs", declared.Declaration("costs", (AGE,), COST))


@pytest.fixture(scope="module")
def model() -> Artifact:
    table, first = costs(2_000, 1), LEARNERS[POSITIVE].candidates[FAST][0]
    origin = Origin(FIRST, "2026-01-01T00:00:00Z", 1)
    return train(
        COSTS, table, split(table, 1), candidate=first, origin=origin, tell=lambda step: None
    )


def test_the_point_is_the_one_with_the_least_loss_on_unseen_rows(model: Artifact) -> None:
    """The mean of such costs is far above nearly all of them: no price to name."""
    fresh = costs(4_000, 2)
    assert isinstance(model.calibration, Calibration)
    outputs, distribution = run(model.graph, fresh.rows), model.calibration.distribution
    losses = {
        point: POSITIVE.measure.loss(
            replace(distribution, point=point).values(outputs), fresh.target
        ).mean()
        for point in POINTS
    }
    assert distribution.point == min(losses, key=losses.__getitem__)
    assert losses["mean"] > 1.2 * losses[distribution.point]


@pytest.mark.parametrize("level", CONFIDENCES)
def test_a_model_of_a_heavy_tail_answers_inside_its_bounds_and_covers(
    model: Artifact, level: float
) -> None:
    fresh = costs(4_000, 3)
    values, interval = model.calibration.predict(run(model.graph, fresh.rows), level)
    assert ((interval.lower <= values) & (values <= interval.upper)).all()
    hits = (interval.lower <= fresh.target) & (fresh.target <= interval.upper)
    rows = model.calibration.rows
    assert hits.mean() > level - 4 * (level * (1 - level) * (1 / rows + 1 / len(fresh))) ** 0.5


def test_a_model_made_before_there_was_a_choice_goes_on_with_the_mean() -> None:
    thresholds = np.array([-1.0, 0.0, 1.0])
    old = Distribution(thresholds, np.array([0.2, 0.5, 0.8]), 0.1, -5.0, 5.0, False)
    outputs = Outputs(np.zeros(1), np.ones(1), np.array([[0.1, 0.3, 0.6]]))
    assert old.values(outputs) == old.mean(outputs)
    assert REAL.measure.loss(old.values(outputs), np.zeros(1)) > 0
