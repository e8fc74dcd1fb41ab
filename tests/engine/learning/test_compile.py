"""The compiled graph answers as scikit-learn does, on every kind of row."""

import io
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from engine.assemble import open_stores
from engine.domain.artifact import Artifact
from engine.domain.schema import Vector
from engine.learning.bins import coded, edges_of
from engine.learning.compile import Ensembles, compile_graph, disagreement
from engine.learning.parity import ensembles_of
from tests.conftest import empty_settings, market

EXACT = 1e-12


@pytest.mark.parametrize("candidate", [0, 1])
def test_graph_and_estimators_agree_on_thousands_of_rows(
    artifacts: list[Artifact], candidate: int
) -> None:
    artifact = artifacts[candidate]
    anywhere = np.random.default_rng(0).uniform(
        (100, 0, 0, 0, 0), (1e5, 50, 50, 500, 500), (5_000, 5)
    )
    for rows in (market(5_000, seed=2).rows, anywhere):
        assert disagreement(ensembles_of(artifact), artifact.graph, rows) < EXACT


@pytest.mark.parametrize("candidate", [0, 1])
def test_they_agree_on_values_that_stand_right_at_an_edge_and_just_beside_it(
    artifacts: list[Artifact], candidate: int
) -> None:
    source = ensembles_of(artifacts[candidate])
    assert source.edges is not None
    rng = np.random.default_rng(0)
    at = np.column_stack([rng.choice(edges, 2_000) for edges in source.edges])
    holes = np.where(rng.random(at.shape) < 0.3, np.nan, at)
    beyond = np.where(rng.random(at.shape) < 0.3, rng.choice((-1e300, 1e300), at.shape), at)
    for rows in (at, np.nextafter(at, -np.inf), np.nextafter(at, np.inf), holes, beyond):
        assert disagreement(source, artifacts[candidate].graph, rows) < EXACT


@pytest.mark.parametrize("candidate", [0, 1])
def test_all_trees_of_all_folds_split_a_feature_at_few_thresholds(
    artifacts: list[Artifact], candidate: int
) -> None:
    """Whoever asks many trees at once compares a value with each threshold once."""
    edges = ensembles_of(artifacts[candidate]).edges
    assert edges is not None
    for feature, of_graph in enumerate(thresholds(artifacts[candidate].graph, len(edges))):
        assert set(of_graph) <= {*edges[feature], np.inf}
        assert len(of_graph) <= 255


def thresholds(graph: bytes, features: int) -> list[Vector]:
    """The distinct ones of each feature."""
    node = next(node for node in onnx.load_from_string(graph).graph.node if node.domain)
    found = {attribute.name: attribute for attribute in node.attribute}
    splits = numpy_helper.to_array(found["nodes_splits"].t)
    asked = np.array(found["nodes_featureids"].ints)
    return [np.unique(splits[asked == feature]) for feature in range(features)]


def test_estimators_of_older_artifacts_have_no_edges_and_are_asked_about_values(
    artifacts: list[Artifact],
) -> None:
    """Whole numbers from 0 on are their own codes, so both kinds of estimators learn the same."""
    rows = np.arange(200.0).reshape(100, 2) // 10
    rows -= rows.min(axis=0)
    fitted = {
        "location": [HistGradientBoostingRegressor(max_iter=9).fit(rows, rows[:, 0])],
        "spread": [RandomForestRegressor(3, random_state=0).fit(rows, rows[:, 1])],
        "shape": ExtraTreesRegressor(3, random_state=0).fit(rows, rows),
    }
    dump = io.BytesIO()
    joblib.dump(fitted, dump)
    older = ensembles_of(replace(artifacts[0], estimator=dump.getvalue()))
    graph = compile_graph(Ensembles(**fitted, edges=edges_of(rows)))
    assert older.edges is None
    assert disagreement(older, graph, rows) < EXACT


def test_trees_that_never_split_are_compiled_too() -> None:
    rows = np.arange(100.0).reshape(50, 2)
    flat, edges = np.full(50, 3.0), edges_of(rows)
    codes = coded(rows, edges)
    source = Ensembles(
        location=[HistGradientBoostingRegressor(max_iter=3).fit(codes, flat)],
        spread=[RandomForestRegressor(3, random_state=0).fit(codes, flat)],
        shape=ExtraTreesRegressor(3, random_state=0).fit(codes, np.column_stack((flat, flat))),
        edges=edges,
    )
    assert disagreement(source, compile_graph(source), rows) < EXACT


def test_the_graph_a_file_holds_is_the_one_that_was_proven(home: Path) -> None:
    artifact = open_stores(empty_settings(home), "housing").champion.load()
    assert disagreement(ensembles_of(artifact), artifact.graph, market(500, seed=8).rows) < EXACT
