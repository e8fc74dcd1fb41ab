"""The candidates: which trees say where the target lies, how far off that may be, and how.

All of them share the spread and the shape; they differ in what learns the location. Few steps with
a high learning rate, because every tree is paid for at each request, and three times as many gain
nothing (`docs/decisions/0002-intervals.md`). For an event there is only a location: its score, of
which only the order matters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from threadpoolctl import threadpool_limits

LEVELS = (
    *(0.005, 0.02, 0.035, 0.05, 0.07, 0.1, 0.2, 0.35, 0.5),
    *(0.65, 0.8, 0.9, 0.93, 0.95, 0.965, 0.98, 0.995),
)
"""Shares of all standardised residuals at which the shape is learned, dense where intervals end."""


@dataclass(frozen=True)
class Candidate:
    """A way to learn the location: `members` gives fresh estimators for one fold and seed."""

    algorithm: str
    members: Callable[[int], list[Any]]


def boosted_location(seed: int) -> list[Any]:
    """Squared and absolute error beside each other: the mean of the two beats either alone."""
    return [
        HistGradientBoostingRegressor(
            loss=loss,
            max_iter=30,
            learning_rate=0.25,
            max_leaf_nodes=64,
            min_samples_leaf=20,
            max_features=0.6,
            early_stopping=False,
            random_state=seed,
        )
        for loss in ("squared_error", "absolute_error")
    ]


def forest_location(seed: int) -> list[Any]:
    forest = RandomForestRegressor(
        n_estimators=20, min_samples_leaf=8, max_features=0.6, random_state=seed, n_jobs=1
    )
    return [forest]


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


def _forest_score(seed: int) -> list[Any]:
    forest = RandomForestClassifier(
        n_estimators=30, min_samples_leaf=10, max_features="sqrt", random_state=seed, n_jobs=1
    )
    return [forest]


def spread(seed: int) -> list[Any]:
    """Learns the absolute residual on the target's scale."""
    return [
        HistGradientBoostingRegressor(
            max_iter=30,
            learning_rate=0.15,
            max_leaf_nodes=16,
            min_samples_leaf=50,
            max_features=0.6,
            early_stopping=False,
            random_state=seed,
        )
    ]


_SHAPE_TREES, _FEW_SHAPE_TREES = 30, 6


def shape(seed: int, trees: int = _SHAPE_TREES) -> Any:
    """Learns whether the standardised residual is at most each threshold, all of them at once."""
    return ExtraTreesRegressor(
        n_estimators=trees,
        min_samples_leaf=20,
        max_leaf_nodes=250,
        max_features=1.0,
        random_state=seed,
        n_jobs=1,
    )


def small_shape(seed: int) -> list[Any]:
    """A small forest: enough to compare point predictions on rows that it has not seen."""
    return [shape(seed, _FEW_SHAPE_TREES)]


CANDIDATES = (
    Candidate("HistGradientBoosting", boosted_location),
    Candidate("RandomForest", forest_location),
)
"""The candidates for a quantity."""
EVENT_CANDIDATES = (
    Candidate("HistGradientBoosting", _boosted_score),
    Candidate("RandomForest", _forest_score),
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever is fitted or asked inside uses one thread, with or without OMP_NUM_THREADS.

    The libraries below scikit-learn (OpenMP, BLAS) start a thread for every core. On tables that
    are learned from here those threads wait for each other longer than they work. A forest has
    `n_jobs=1` for the same reason.
    """
    with threadpool_limits(limits=1):
        yield
