"""Fit a candidate by cross-fitting, and calibrate it on rows that no estimator has seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from engine.domain.conformal import POINTS, Calibration, Distribution, Outputs, scaled
from engine.domain.errors import UnusableTable
from engine.domain.kinds import TargetKind
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers
from engine.judging.probabilities import skill
from engine.learning.bins import coded, edges_of
from engine.learning.compile import Ensembles, compile_graph
from engine.learning.estimators import LEVELS, Candidate, one_thread
from engine.learning.trees import answer
from engine.model.runtime import run
from engine.tables.split import Rows, folds
from engine.tables.table import Table

_SMALLEST_SPREAD = 0.25
"""The floor of the spread, as a share of its median."""
MOST_CALIBRATION_EVENTS = 10_000
"""The most rows that calibrate probabilities; k rows take k^2 steps."""

Tell = Callable[[str], None]
"""Called with the name of each step as it begins."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A candidate that has learned: its estimators, their graph, how its residuals spread (an event
    has none), and figures on rows unseen by the members that were asked."""

    ensembles: Ensembles
    graph: bytes
    distribution: Distribution | None
    cross_fitted: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _CrossFitted:
    """Members of the model, and what estimators that have not seen a row say of it, (n,) or
    (n, targets)."""

    members: Sequence[Any]
    out_of_fold: NDArray[np.float64]


@one_thread()
def fit_event(table: Table, candidate: Candidate, *, seed: int, tell: Tell) -> Fitted:
    """A score, the higher the likelier."""
    parts = folds(table, candidate.size.folds, seed)
    edges = edges_of(table.rows)
    codes = coded(table.rows, edges)
    refits = candidate.size.is_refitted
    score = _cross_fit(
        candidate.members, codes, table.target, parts=parts, refits=refits, tell=tell
    )
    ensembles = Ensembles(score.members, edges=edges)
    chances = _cross_calibrated(score.out_of_fold, table.target, parts)
    brier = float(((chances - table.target) ** 2).mean())
    figures = {"brier": brier, "skill": skill(brier, table.target)}
    return Fitted(ensembles, compile_graph(ensembles), None, figures)


def _cross_calibrated(scores: Vector, truth: Vector, parts: list[tuple[Rows, Rows]]) -> Vector:
    """Each row's probability (n,) as the rows of the other folds say: what a score is worth once it
    is calibrated, which an uncalibrated one does not show."""
    chances = np.empty(len(truth))
    for seen, unseen in parts:
        order = IsotonicRegression(out_of_bounds="clip").fit(scores[seen], truth[seen])
        chances[unseen] = order.predict(scores[unseen])
    return chances


@one_thread()
def fit_quantity(
    table: Table, candidate: Candidate, *, kind: TargetKind, chosen_by: str, seed: int, tell: Tell
) -> Fitted:
    """Location, then spread, then shape: each learns from residuals of rows unseen by the last. The
    point that is predicted is the one with the least loss on rows unseen by all of them.

    Raises UnusableTable when residuals repeat so often that they have no distribution.
    """
    is_log = kind.measure.is_log
    target = scaled(table.target, is_log)
    parts = folds(table, candidate.size.folds, seed)
    edges = edges_of(table.rows)
    codes = coded(table.rows, edges)
    learn = partial(_cross_fit, codes=codes, parts=parts, tell=tell)
    size = candidate.size
    location = learn(candidate.members, target=target, refits=size.is_refitted)
    residual = target - location.out_of_fold
    spread = learn(size.spread, target=np.abs(residual), refits=size.is_refitted)
    floor = _SMALLEST_SPREAD * float(np.median(spread.out_of_fold))
    off = np.maximum(spread.out_of_fold, floor)
    standardised = residual / off if floor > 0 else np.zeros_like(residual)
    thresholds = np.quantile(standardised, LEVELS)
    at_most = (standardised[:, None] <= thresholds).astype(np.float64)
    marginal = at_most.mean(axis=0)
    if (np.diff(thresholds) <= 0).any() or marginal.max() >= 1:
        raise UnusableTable(
            f"{table.source}: too many rows have the same target to learn how far off it is"
        )
    shape = learn(size.small_shape, target=at_most, refits=False)
    distribution = Distribution(thresholds, marginal, floor, target.min(), target.max(), is_log)
    said = Outputs(location.out_of_fold, spread.out_of_fold, shape.out_of_fold)
    losses = _point_losses(distribution, said, table.target, kind=kind)
    point = min(losses, key=losses.__getitem__)
    gained = 1 - losses[point] / _loss_of_the_median(table.target, kind)
    figures = {chosen_by: losses[point], "skill": gained}
    tell("shape")
    whole = size.shape(seed).fit(codes, at_most)
    ensembles = Ensembles(location.members, spread.members, whole, edges)
    graph = compile_graph(ensembles)
    return Fitted(ensembles, graph, replace(distribution, point=point), figures)


def _point_losses(
    distribution: Distribution, said: Outputs, target: Vector, *, kind: TargetKind
) -> dict[str, float]:
    """The mean of the declared loss of each way to predict a point, from cross-fitted outputs of
    n rows and their targets (n,)."""
    ways = {point: replace(distribution, point=point) for point in POINTS}
    loss = kind.measure.loss
    return {p: float(loss(way.values(said), target).mean()) for p, way in ways.items()}


def _loss_of_the_median(target: Vector, kind: TargetKind) -> float:
    middle = np.full(len(target), np.median(target))
    return float(kind.measure.loss(middle, target).mean())


def _cross_fit(
    fresh: Callable[[int], list[Any]],
    codes: Matrix,
    target: NDArray[np.float64],
    *,
    parts: list[tuple[Rows, Rows]],
    refits: bool,
    tell: Tell,
) -> _CrossFitted:
    """Fit fresh estimators on each fold's rows. Together they are the model, unless one is fitted
    to all rows, which takes fewer trees: then they only tell what it says of rows it has not seen.
    """
    members: list[Any] = []
    out_of_fold = np.empty_like(target)
    for number, (seen, unseen) in enumerate(parts):
        tell(f"fold {number + 1} of {len(parts)}")
        fitted = [estimator.fit(codes[seen], target[seen]) for estimator in fresh(number)]
        answers = [answer(estimator, codes[unseen]) for estimator in fitted]
        out_of_fold[unseen] = np.mean(answers, axis=0)
        members += fitted
    if refits:
        members = [estimator.fit(codes, target) for estimator in fresh(len(parts))]
    return _CrossFitted(members, out_of_fold)


def calibrate(
    distribution: Distribution | None, graph: bytes, held_out: Table
) -> Calibration | VennAbers:
    """What held-out rows say: where their truth ranks in the distributions the model gives them,
    or how often the event happens at each score."""
    if distribution is not None:
        return Calibration.fitted(distribution, run(graph, held_out.rows), held_out.target)
    some = spaced(held_out, MOST_CALIBRATION_EVENTS)
    return VennAbers.fitted(run(graph, some.rows), some.target)


def spaced(table: Table, most: int) -> Table:
    """All rows, or so many at equal distances: of the same times, and of no choice."""
    if len(table) <= most:
        return table
    return table.take(np.linspace(0, len(table) - 1, most).astype(int))
