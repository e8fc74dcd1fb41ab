"""The candidates: which trees say where the target lies, how far off that may be, and how.

Those of one effort share the spread and the shape; they differ in what learns the location. Few
steps with a high learning rate, because every tree is paid for at each request, and three times as
many as `best` has gain nothing (`docs/decisions/0002-intervals.md`); `fast` has a third of them
(`docs/decisions/0017-trees-that-are-asked-fast.md`). For an event there is only a location: its
score, of which only the order matters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from threadpoolctl import threadpool_limits

from engine.domain.effort import BEST, FAST, Effort

LEVELS = (
    *(0.005, 0.02, 0.035, 0.05, 0.07, 0.1, 0.2, 0.35, 0.5),
    *(0.65, 0.8, 0.9, 0.93, 0.95, 0.965, 0.98, 0.995),
)
"""Shares of all standardised residuals at which the shape is learned, dense where intervals end."""

_Members = Callable[[int], list[Any]]
"""Fresh estimators for one fold and seed."""


@dataclass(frozen=True)
class _Size:
    """What the candidates of an effort share.

    is_refitted: whether location and spread learn from all rows once the folds have told how far
    off they are; else the estimators of the folds are the model. spread, shape and small_shape
    learn from the residuals of a quantity; the last is enough to compare point predictions on rows
    that it has not seen.
    """

    folds: int
    is_refitted: bool
    spread: _Members
    shape: Callable[[int], Any]
    small_shape: _Members


@dataclass(frozen=True)
class Candidate:
    """A way to learn the location."""

    algorithm: str
    members: _Members
    size: _Size


def _boosted(*losses: str, steps: int, rate: float, leaves: int, leaf_rows: int) -> _Members:
    """One estimator a loss."""

    def fresh(seed: int) -> list[Any]:
        return [
            HistGradientBoostingRegressor(
                loss=loss,
                max_iter=steps,
                learning_rate=rate,
                max_leaf_nodes=leaves,
                min_samples_leaf=leaf_rows,
                max_features=0.6,
                early_stopping=False,
                random_state=seed,
            )
            for loss in losses
        ]

    return fresh


def _forest(trees: int, leaves: int | None = None) -> _Members:
    def fresh(seed: int) -> list[Any]:
        forest = RandomForestRegressor(
            n_estimators=trees,
            min_samples_leaf=8,
            max_leaf_nodes=leaves,
            max_features=0.6,
            random_state=seed,
            n_jobs=1,
        )
        return [forest]

    return fresh


def _boosted_score(seed: int) -> list[Any]:
    boosted = HistGradientBoostingClassifier(
        max_iter=30,
        learning_rate=0.1,
        max_leaf_nodes=12,
        min_samples_leaf=20,
        l2_regularization=1.0,
        max_features=0.6,
        early_stopping=False,
        random_state=seed,
    )
    return [boosted]


def _forest_score(trees: int, leaves: int | None = None) -> _Members:
    def fresh(seed: int) -> list[Any]:
        forest = RandomForestClassifier(
            n_estimators=trees,
            min_samples_leaf=10,
            max_leaf_nodes=leaves,
            max_features="sqrt",
            random_state=seed,
            n_jobs=1,
        )
        return [forest]

    return fresh


def _shape(seed: int, trees: int, leaves: int) -> Any:
    """Learns whether the standardised residual is at most each threshold, all of them at once."""
    return ExtraTreesRegressor(
        n_estimators=trees,
        min_samples_leaf=20,
        max_leaf_nodes=leaves,
        max_features=1.0,
        random_state=seed,
        n_jobs=1,
    )


def _small_shape(leaves: int) -> _Members:
    return lambda seed: [_shape(seed, _FEW_SHAPE_TREES, leaves)]


_FEW_SHAPE_TREES = 6
_BOTH = ("squared_error", "absolute_error")
"""Beside each other: the mean of the two beats either alone."""
_FAST_LEAVES, _BEST_LEAVES = 128, 250
_SIZES = {
    FAST: _Size(
        folds=5,
        is_refitted=True,
        spread=_boosted("squared_error", steps=20, rate=0.15, leaves=16, leaf_rows=50),
        shape=partial(_shape, trees=15, leaves=_FAST_LEAVES),
        small_shape=_small_shape(_FAST_LEAVES),
    ),
    BEST: _Size(
        folds=5,
        is_refitted=False,
        spread=_boosted("squared_error", steps=30, rate=0.15, leaves=16, leaf_rows=50),
        shape=partial(_shape, trees=30, leaves=_BEST_LEAVES),
        small_shape=_small_shape(_BEST_LEAVES),
    ),
}
_FAST_LOCATION = _boosted(*_BOTH, steps=50, rate=0.15, leaves=64, leaf_rows=20)
_BEST_LOCATION = _boosted(*_BOTH, steps=30, rate=0.25, leaves=64, leaf_rows=20)
_FAST_EVENTS = replace(_SIZES[FAST], folds=3, is_refitted=False)
"""The mean of scores by different rows ranks better than one score by all rows."""

Candidates = Mapping[Effort, Sequence[Candidate]]
CANDIDATES: Candidates = {
    FAST: (
        Candidate("HistGradientBoosting", _FAST_LOCATION, _SIZES[FAST]),
        Candidate("RandomForest", _forest(40, leaves=64), _SIZES[FAST]),
    ),
    BEST: (
        Candidate("HistGradientBoosting", _BEST_LOCATION, _SIZES[BEST]),
        Candidate("RandomForest", _forest(20), _SIZES[BEST]),
    ),
}
"""The candidates for a quantity."""
EVENT_CANDIDATES: Candidates = {
    FAST: (
        Candidate("HistGradientBoosting", _boosted_score, _FAST_EVENTS),
        Candidate("RandomForest", _forest_score(30, leaves=64), _FAST_EVENTS),
    ),
    BEST: (
        Candidate("HistGradientBoosting", _boosted_score, _SIZES[BEST]),
        Candidate("RandomForest", _forest_score(30), _SIZES[BEST]),
    ),
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever is fitted or asked inside uses one thread, with or without OMP_NUM_THREADS.

    The libraries below scikit-learn (OpenMP, BLAS) start a thread for every core. On tables that
    are learned from here those threads wait for each other longer than they work. A forest has
    `n_jobs=1` for the same reason.
    """
    with threadpool_limits(limits=1):
        yield
