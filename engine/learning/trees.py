"""The trees inside scikit-learn's ensembles, as plain arrays over their nodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from engine.domain.schema import Matrix, Vector
from engine.learning.bins import Edges, edge_at


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree as parallel arrays over its nodes; node 0 is the root."""

    is_leaf: NDArray[np.bool_]
    feature: NDArray[np.int64]
    threshold: Vector
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_goes_left: NDArray[np.bool_]
    value: Vector


STUMP = Tree(
    is_leaf=np.array([False, True, True]),
    feature=np.zeros(3, dtype=np.int64),
    threshold=np.zeros(3),
    left=np.array([1, 0, 0]),
    right=np.array([2, 0, 0]),
    missing_goes_left=np.zeros(3, dtype=bool),
    value=np.zeros(3),
)
"""A tree that adds 0 for every row."""


_Boosted = HistGradientBoostingRegressor | HistGradientBoostingClassifier
_Forest = RandomForestRegressor | ExtraTreesRegressor | RandomForestClassifier


def answer(estimator: Any, rows: Matrix) -> Vector:
    """What its trees add up to, (n,) or (n, targets): a prediction; of an event the log-odds
    (boosted) or the probability (forest)."""
    if isinstance(estimator, HistGradientBoostingClassifier):
        return np.asarray(estimator.decision_function(rows))
    if isinstance(estimator, RandomForestClassifier):
        return np.asarray(estimator.predict_proba(rows)[:, 1])
    return np.asarray(estimator.predict(rows))


def mean_of(members: Sequence[Any]) -> list[Tree]:
    return [
        replace(tree, value=tree.value / len(members))
        for member in members
        for tree in _trees_of(member)
    ]


def with_edges(tree: Tree, edges: Edges) -> Tree:
    """The tree that splits values as this one splits their codes."""
    split = np.flatnonzero(~tree.is_leaf)
    threshold = np.zeros(len(tree.is_leaf))
    for node in split:
        threshold[node] = edge_at(tree.feature[node], tree.threshold[node], edges)
    return replace(tree, threshold=threshold)


def leaf_finder(tree: Any, first: int) -> tuple[Tree, Matrix]:
    """A tree that answers the number of the leaf, and what stands in the leaves (leaves, t)."""
    is_leaf = tree.children_left < 0
    number = first + np.cumsum(is_leaf) - 1.0
    return replace(_plain_tree(tree, share=1), value=number), tree.value[is_leaf, :, 0]


def _trees_of(estimator: Any) -> Iterator[Tree]:
    """The trees of an ensemble, whose values add up to its answer."""
    if isinstance(estimator, _Boosted):
        yield _constant(float(np.ravel(estimator._baseline_prediction)[0]))
        for (predictor,) in estimator._predictors:
            yield _histogram_tree(predictor.nodes)
    elif isinstance(estimator, _Forest):
        for member in estimator.estimators_:
            yield _plain_tree(member.tree_, share=1 / len(estimator.estimators_))
    else:
        raise TypeError(f"a {type(estimator).__name__} cannot be compiled")


def _constant(value: float) -> Tree:
    none = np.zeros(1, dtype=np.int64)
    leaf = np.ones(1, dtype=bool)
    return Tree(leaf, none, np.zeros(1), none, none, ~leaf, np.array([value]))


def _histogram_tree(nodes: Any) -> Tree:
    return Tree(
        is_leaf=nodes["is_leaf"].astype(bool),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_goes_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"],
    )


def _plain_tree(tree: Any, share: float) -> Tree:
    """A forest's tree. Of a class it holds the shares of both, and the event is the second."""
    return Tree(
        is_leaf=tree.children_left < 0,
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_goes_left=tree.missing_go_to_left.astype(bool),
        value=tree.value[:, 0, -1] * share,
    )
