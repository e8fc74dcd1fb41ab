"""Fit a candidate by cross-fitting, and calibrate it on rows that no estimator has seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.conformal import Calibration, Distribution
from engine.domain.errors import UnusableTable
from engine.domain.schema import Matrix, Vector
from engine.learning import estimators
from engine.learning.compile import Ensembles, compile_graph, run
from engine.learning.data import Table
from engine.learning.estimators import Candidate
from engine.learning.split import FOLDS, Rows, folds

SMALLEST_SPREAD = 0.25
"""The floor of the spread, as a share of its median."""

Tell = Callable[[str], None]
"""Called with the name of each step as it begins."""
STEPS = 2 * FOLDS + 1


@dataclass(frozen=True, eq=False)
class Fitted:
    """A candidate that has learned: its estimators, their graph, how its residuals spread, and
    `log_error`, their mean size on rows unseen by the members that were asked."""

    ensembles: Ensembles
    graph: bytes
    distribution: Distribution
    log_error: float


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """One member list a fold, and what the members of the other folds say of each row (n,)."""

    members: Sequence[Any]
    out_of_fold: Vector


def fit(table: Table, candidate: Candidate, *, seed: int, tell: Tell) -> Fitted:
    """Location, then spread, then shape: each learns from residuals of rows unseen by the last.

    Raises UnusableTable when residuals repeat so often that they have no distribution.
    """
    log_target = np.log(table.target)
    parts = folds(table, seed)
    location = cross_fit(candidate.members, table.rows, log_target, parts, tell)
    residual = log_target - location.out_of_fold
    spread = cross_fit(estimators.spread, table.rows, np.abs(residual), parts, tell)
    floor = SMALLEST_SPREAD * float(np.median(spread.out_of_fold))
    standardised = residual / np.maximum(spread.out_of_fold, floor)
    thresholds = np.quantile(standardised, estimators.LEVELS)
    at_most = (standardised[:, None] <= thresholds).astype(np.float64)
    marginal = at_most.mean(axis=0)
    if floor <= 0 or (np.diff(thresholds) <= 0).any() or marginal.max() >= 1:
        raise UnusableTable(f"{table.source}: too many equal targets to learn how far off one is")
    tell("shape")
    shape = estimators.shape(seed).fit(table.rows, at_most)
    ensembles = Ensembles(location.members, spread.members, shape)
    return Fitted(
        ensembles,
        compile_graph(ensembles, table.rows.shape[1]),
        Distribution(thresholds, marginal, floor, log_target.min(), log_target.max()),
        float(np.abs(residual).mean()),
    )


def cross_fit(
    fresh: Callable[[int], list[Any]],
    rows: Matrix,
    target: Vector,
    parts: list[tuple[Rows, Rows]],
    tell: Tell,
) -> CrossFitted:
    """Fit fresh estimators on each fold's rows; together they are the model, no refit follows."""
    members: list[Any] = []
    out_of_fold = np.empty(len(target))
    for number, (seen, unseen) in enumerate(parts):
        tell(f"fold {number + 1} of {len(parts)}")
        fitted = [estimator.fit(rows[seen], target[seen]) for estimator in fresh(number)]
        answers = [estimator.predict(rows[unseen]) for estimator in fitted]
        out_of_fold[unseen] = np.mean(answers, axis=0)
        members += fitted
    return CrossFitted(members, out_of_fold)


def calibrate(distribution: Distribution, graph: bytes, held_out: Table) -> Calibration:
    """Where the truth of held-out rows ranks in the distributions the model gives them."""
    return Calibration.fitted(distribution, run(graph, held_out.rows), held_out.target)
