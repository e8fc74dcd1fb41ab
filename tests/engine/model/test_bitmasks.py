"""Trees as bit masks: they answer as ONNX Runtime does, to the last bit, whatever the rows.

Trees of today share the edges of few bins; those of older models split anywhere between two values.
"""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from engine.domain.schema import Matrix, Vector
from engine.learning.bins import Edges, coded, edges_of
from engine.learning.compile import Ensembles, compile_graph
from engine.model.bitmasks import BitMasks, compile_masks
from engine.model.ensemble import read_trees
from engine.model.runtime import OnnxTrees, compile_trees

_FEATURES = 4


@pytest.fixture(scope="module")
def rows() -> Matrix:
    """Numbers, few values, a category, and gaps in every column."""
    rng = np.random.default_rng(3)
    found = rng.normal(size=(3_000, _FEATURES))
    found[:, 1] = rng.integers(0, 6, len(found))
    found[:, 2] = found[:, 2].round(1)
    found[rng.random(found.shape) < 0.05] = np.nan
    return found


@pytest.fixture(scope="module")
def target(rows: Matrix) -> Vector:
    noise = np.random.default_rng(4).normal(size=len(rows))
    found = np.nan_to_num(rows) @ np.array([1.0, -0.5, 2.0, 0.0]) + noise
    return np.asarray(found)


def between_all(rows: Matrix) -> Edges:
    """Where trees split that were not made to share bins."""
    found = (np.unique(column[~np.isnan(column)]) for column in rows.T)
    return [values[:-1] / 2 + values[1:] / 2 for values in found]


@pytest.fixture(scope="module", params=[edges_of, between_all], ids=["shared", "anywhere"])
def edges(request: pytest.FixtureRequest, rows: Matrix) -> Edges:
    made: Edges = request.param(rows)
    return made


@pytest.fixture(scope="module")
def codes(rows: Matrix, edges: Edges) -> Matrix:
    return coded(rows, edges)


def _boosted(codes: Matrix, target: Vector, **settings: Any) -> Any:
    return HistGradientBoostingRegressor(max_iter=20, random_state=0, **settings).fit(codes, target)


def _quantity(
    codes: Matrix, target: Vector, *, edges: Edges, location: Any, shape_leaves: int
) -> bytes:
    shape = ExtraTreesRegressor(7, max_leaf_nodes=shape_leaves, random_state=0)
    shape.fit(codes, np.column_stack([target < 0, target < 1]).astype(float))
    spread = _boosted(codes, np.abs(target), max_leaf_nodes=16)
    return compile_graph(Ensembles([location], [spread], shape, edges))


def _hard(rows: Matrix, graph: bytes) -> Matrix:
    """Fresh rows, many of them on a threshold or one step beside it."""
    rng, trees = np.random.default_rng(5), read_trees(graph)
    found = rng.normal(size=(2_000, _FEATURES)) * 3
    for feature in range(_FEATURES):
        thresholds = trees.thresholds[trees.features == feature]
        if not len(thresholds):
            continue
        on = rng.choice(thresholds, len(found))
        steps = np.stack(
            [on, np.nextafter(on, np.inf), np.nextafter(on, -np.inf), rows[:2_000, feature]]
        )
        found[:, feature] = steps[rng.integers(0, 4, len(found)), np.arange(len(found))]
    return found


def _assert_same(graph: bytes, rows: Matrix) -> None:
    masks, runtime = compile_trees(graph), OnnxTrees(graph)
    assert isinstance(masks, BitMasks)
    for size in (*range(1, 20), 63, 64, 65, 257, len(rows)):
        some = rows[:size]
        ours, theirs = masks.outputs(some), runtime.outputs(some)
        np.testing.assert_array_equal(ours.location, theirs.location)
        np.testing.assert_array_equal(ours.spread, theirs.spread)
        np.testing.assert_array_equal(ours.shape, theirs.shape)


@pytest.mark.parametrize("leaves", [2, 31, 64, 65, 300])
def test_boosted_trees_answer_as_onnx_runtime_does(
    rows: Matrix, codes: Matrix, target: Vector, *, edges: Edges, leaves: int
) -> None:
    location = _boosted(codes, target, max_leaf_nodes=leaves, min_samples_leaf=5)
    graph = _quantity(codes, target, edges=edges, location=location, shape_leaves=250)
    _assert_same(graph, _hard(rows, graph))


def test_a_forest_answers_as_onnx_runtime_does(
    rows: Matrix, codes: Matrix, target: Vector, *, edges: Edges
) -> None:
    forest = RandomForestRegressor(10, max_leaf_nodes=60, random_state=0).fit(codes, target)
    graph = _quantity(codes, target, edges=edges, location=forest, shape_leaves=50)
    _assert_same(graph, _hard(rows, graph))


def test_the_score_of_an_event_is_the_same(
    rows: Matrix, codes: Matrix, target: Vector, *, edges: Edges
) -> None:
    classifier = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    graph = compile_graph(Ensembles([classifier.fit(codes, target > 0)], edges=edges))
    _assert_same(graph, _hard(rows, graph))


def test_a_constant_model_has_masks_too(rows: Matrix, codes: Matrix, edges: Edges) -> None:
    flat = _boosted(codes, np.zeros(len(rows)))
    _assert_same(compile_graph(Ensembles([flat], [flat], edges=edges)), rows)


def test_trees_whose_masks_would_be_too_large_are_asked_through_onnx_runtime() -> None:
    wide = np.random.default_rng(0).normal(size=(6_000, 30))
    edges = between_all(wide)
    codes = coded(wide, edges)
    forest = RandomForestRegressor(20, random_state=0, max_features=0.3).fit(
        codes, wide.sum(axis=1)
    )
    graph = compile_graph(Ensembles([forest], edges=edges))
    with pytest.raises(ValueError, match="memory"):
        compile_masks(read_trees(graph))
    found = compile_trees(graph)
    assert isinstance(found, OnnxTrees)
    np.testing.assert_allclose(found.outputs(wide[:50]).location, forest.predict(codes[:50]))


@pytest.fixture(scope="module")
def graph(codes: Matrix, target: Vector, edges: Edges) -> bytes:
    return compile_graph(Ensembles([_boosted(codes, target)], edges=edges))


def test_nodes_below_themselves_are_refused(graph: bytes) -> None:
    trees = read_trees(graph)
    trees.true_child[:] = 0
    trees.true_is_leaf[:] = False
    with pytest.raises(ValueError, match="no trees"):
        compile_masks(trees)


@pytest.mark.parametrize("length", [0, 1, 40, 400, 4_000])
def test_a_cut_graph_is_not_read(graph: bytes, length: int) -> None:
    with pytest.raises((ValueError, LookupError)):
        read_trees(graph[:length])
