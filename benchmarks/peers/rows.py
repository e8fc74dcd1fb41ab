"""The table, the estimator of the peers, and rows that no server has seen before."""

from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.peers.faces import Face
from engine.domain.schema import Matrix, Vector
from engine.tables.files import read_file
from engine.tables.table import Table, check, translate
from problems.housing import HOUSING, simulate

_NAMES = list(HOUSING.schema.names)
_BODIES = {1: 40_000, 100: 2_000, 1_000: 400}
"""Rows in a request to the number of distinct requests."""
_QUICK_SHARE = 8


@dataclass(frozen=True, eq=False)
class Market:
    """The sales, and the estimator that every peer serves, in two files.

    The trees of both are the same; one was fitted with the names of the columns and is asked with
    a DataFrame, the other without, because scikit-learn warns at every mix of the two.
    """

    table: Table
    estimator: HistGradientBoostingRegressor
    folder: Path

    def draw(self, count: int, rng: np.random.Generator) -> Matrix:
        """Rows of the table with jitter, (count, features), inside the bounds of the schema."""
        rows = self.table.rows[rng.integers(0, len(self.table), count)].copy()
        feet, age, miles = (_NAMES.index(n) for n in (_NAMES[0], "age_years", "distance_to_city"))
        rows[:, feet] = (rows[:, feet] * rng.uniform(0.95, 1.05, count)).round(1).clip(200)
        rows[:, age] = (rows[:, age] + rng.uniform(-2, 2, count)).round(1).clip(0)
        rows[:, miles] = (rows[:, miles] * rng.uniform(0.95, 1.05, count)).round(3)
        return rows

    def expected(self, rows: Matrix) -> Vector:
        return np.asarray(self.estimator.predict(rows))


def open_market(data: Path | None, folder: Path) -> Market:
    """King County, or the simulated market without a file; fits the peers' estimator."""
    source = "the simulated market" if data is None else data.name
    columns = (
        simulate(20_000, 0) if data is None else translate(HOUSING, read_file(data), "king-county")
    )
    table = check(HOUSING, columns, source)[0]
    fitted = HistGradientBoostingRegressor(random_state=0).fit(table.rows, table.target)
    named = HistGradientBoostingRegressor(random_state=0)
    named.fit(pd.DataFrame(table.rows, columns=_NAMES), table.target)
    joblib.dump(fitted, folder / "model.joblib")
    joblib.dump(named, folder / "named.joblib")
    return Market(table, fitted, folder)


def write_bodies(market: Market, face: Face, rows: int, *, is_quick: bool) -> Path:
    """A file of distinct bodies, one a line; made once for all servers that take the same ones."""
    path = market.folder / f"{face.body}-{rows}.jsonl"
    if not path.exists():
        count = _BODIES[rows] // (_QUICK_SHARE if is_quick else 1)
        drawn = market.draw(count * rows, np.random.default_rng(rows))
        with path.open("wb") as file:
            for one in np.split(drawn, count):
                file.write(face.body_of(one) + b"\n")
    return path
