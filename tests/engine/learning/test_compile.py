"""The compiled graph answers as scikit-learn does, on every kind of row."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from engine.assemble import open_stores
from engine.domain.artifact import Artifact
from engine.domain.schema import Matrix
from engine.learning.compile import Ensembles, compile_graph, disagreement
from engine.learning.parity import ensembles_of
from engine.tables.table import Table
from tests.conftest import empty_settings, market

EXACT = 1e-12


def thresholds(forest: ExtraTreesRegressor | RandomForestRegressor, feature: int) -> Matrix:
    trees = [member.tree_ for member in forest.estimators_]
    return np.concatenate([tree.threshold[tree.feature == feature] for tree in trees])


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


def test_they_agree_on_values_that_stand_right_at_a_forest_threshold(
    artifacts: list[Artifact], table: Table
) -> None:
    """Forests round to float32 before they compare; a graph that did not would differ here."""
    source = ensembles_of(artifacts[1])
    at = thresholds(source.shape, feature=0).astype(np.float32)
    up = np.nextafter(at, np.float32(np.inf))
    middle = (at.astype(np.float64) + up.astype(np.float64)) / 2
    places = [at, up, middle, np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf)]
    feet = np.concatenate([place.astype(np.float64) for place in places])
    rows = table.rows[np.arange(len(feet)) % len(table)].copy()
    rows[:, 0] = feet
    assert disagreement(source, artifacts[1].graph, rows) < EXACT


def test_trees_that_never_split_are_compiled_too() -> None:
    rows = np.arange(100.0).reshape(50, 2)
    flat = np.full(50, 3.0)
    source = Ensembles(
        location=[HistGradientBoostingRegressor(max_iter=3).fit(rows, flat)],
        spread=[RandomForestRegressor(3, random_state=0).fit(rows, flat)],
        shape=ExtraTreesRegressor(3, random_state=0).fit(rows, np.column_stack((flat, flat))),
    )
    assert disagreement(source, compile_graph(source, 2), rows) < EXACT


def test_the_graph_a_file_holds_is_the_one_that_was_proven(home: Path) -> None:
    artifact = open_stores(empty_settings(home), "housing").champion.load()
    assert disagreement(ensembles_of(artifact), artifact.graph, market(500, seed=8).rows) < EXACT
