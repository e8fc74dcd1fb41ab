"""Training uses one thread, whatever the environment allows: more of them wait for each other."""

from dataclasses import replace
from typing import Any

import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from engine.domain.effort import FAST
from engine.domain.kinds import POSITIVE
from engine.learning.estimators import CANDIDATES
from engine.learning.fit import Fitted
from engine.learning.kinds import LEARNERS
from engine.learning.parity import prove_parity
from engine.tables.table import Table
from problems.housing import HOUSING
from tests.conftest import market

seen: list[int] = []
"""The most threads that any library might have used, at each step of an estimator."""


class Watching(HistGradientBoostingRegressor):  # type: ignore[misc]  # scikit-learn has no types
    """Notes how many threads it may use."""

    def fit(self, *args: Any, **others: Any) -> Any:
        seen.append(allowed())
        return super().fit(*args, **others)

    def predict(self, *args: Any) -> Any:
        seen.append(allowed())
        return super().predict(*args)


def allowed() -> int:
    return max(int(library["num_threads"]) for library in threadpool_info())


@pytest.fixture(scope="module")
def rows() -> Table:
    return market(400, seed=4)


def trained(rows: Table) -> Fitted:
    watched = replace(CANDIDATES[FAST][0], members=lambda seed: [Watching(max_iter=3)])
    return LEARNERS[POSITIVE].fit(rows, watched, seed=0, tell=lambda step: None)


def test_estimators_are_fitted_on_one_thread(rows: Table) -> None:
    with threadpool_limits(limits=2):
        assert allowed() == 2
        seen.clear()
        trained(rows)
    assert set(seen) == {1}


def test_estimators_are_asked_on_one_thread_where_their_graph_is_proven(rows: Table) -> None:
    fitted = trained(rows)
    with threadpool_limits(limits=2):
        seen.clear()
        prove_parity(HOUSING, rows, fitted.ensembles, graph=fitted.graph, seed=0)
        assert allowed() == 2
    assert set(seen) == {1}
