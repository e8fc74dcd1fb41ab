"""The training script as people run it: a process, its output, its files, its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.domain.schema import Vector
from engine.learning.compile import run
from engine.stores.files import read
from problems.housing import HOUSING, SEATTLE, miles_from
from tests.conftest import KING_COUNTY, market, needs_king_county

ROOT = Path(__file__).parents[1]


def train(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `train_model.py` with its data below `folder`."""
    own = {"DATA_DIR": f"{folder}/data", "MODEL_PATH": f"{folder}/champion.joblib"}
    return subprocess.run(
        [sys.executable, str(ROOT / "train_model.py"), *arguments],
        env={**os.environ, **own, "COLUMNS": "120", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def predictions(path: Path) -> Vector:
    artifact = read(path)
    outputs = run(artifact.graph, market(50, seed=77).rows)
    return artifact.calibration.values(outputs)


def sales(rows: int = 400) -> pd.DataFrame:
    return pd.DataFrame(HOUSING.simulate(rows, 3))


def test_training_registers_every_candidate_and_makes_the_better_one_champion(
    tmp_path: Path,
) -> None:
    result = train(tmp_path, "--rows", "1200")
    assert result.returncode == 0, result.stderr
    for word in ("HistGradientBoosting", "RandomForest", "R2", "RMSE", "MAE", "MAPE", "Winkler"):
        assert word in result.stdout
    saved = {path.name for path in (tmp_path / "data" / "models" / "housing").iterdir()}
    assert saved == {"v1.0.0.joblib", "v1.1.0-rc.1.joblib"}
    assert read(tmp_path / "champion.joblib").card.version == "v1.0.0"


def test_training_again_keeps_what_was_champion_and_releases_the_next_minor(
    tmp_path: Path,
) -> None:
    first = train(tmp_path, "--rows", "1200", "--out", "champion.joblib")
    second = train(tmp_path, "--rows", "1200", "--seed", "5")
    saved = {path.stem for path in (tmp_path / "data" / "models" / "housing").iterdir()}
    assert (first.returncode, second.returncode) == (0, 0)
    assert saved == {"v1.0.0", "v1.1.0", "v1.2.0-rc.1"}
    assert read(tmp_path / "champion.joblib").card.version == "v1.1.0"


def test_the_same_table_and_seed_give_the_same_predictions(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        seed = "8" if name == "other" else "7"
        train(tmp_path, "--rows", "1200", "--seed", seed, "--out", f"{name}.joblib")
    one, two, other = (predictions(tmp_path / f"{n}.joblib") for n in ("one", "two", "other"))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_in_our_columns_is_learned_from(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"sales{suffix}"
    frame = sales()
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    result = train(tmp_path, "--data", str(file), "--out", "out.joblib")
    assert result.returncode == 0, result.stderr
    card = read(tmp_path / "out.joblib").card
    assert card.data["source"] == f"sales{suffix}"
    assert card.data["rows"] == 400
    assert not (tmp_path / "data").exists()


def test_rows_that_break_the_schema_are_set_aside_in_a_report(tmp_path: Path) -> None:
    frame = sales().astype(object)
    frame.loc[2, "square_feet"] = -5
    frame.loc[4, "bathrooms"] = "two"
    frame.loc[6, "bedrooms"] = 2.5
    frame.loc[8, "price"] = np.nan
    frame.to_csv(tmp_path / "sales.csv", index=False)
    result = train(tmp_path, "--data", "sales.csv", "--out", "out.joblib")
    report = pd.read_csv(tmp_path / "data" / "reports" / "rejected_rows.csv")
    assert result.returncode == 0, result.stderr
    assert "4 of 400 rows set aside" in result.stdout
    assert report[["row", "column", "rule"]].to_numpy().tolist() == [
        [3, "square_feet", "must be at least 100"],
        [5, "bathrooms", "must be a number"],
        [7, "bedrooms", "must be a whole number"],
        [9, "price", "must not be missing"],
    ]


def unusable_tables() -> dict[str, tuple[pd.DataFrame | bytes, str]]:
    good = sales()
    return {
        "empty file": (b"", "cannot be read as a table"),
        "not a table": (bytes(range(256)), "cannot be read as a table"),
        "only a header": (good.head(0), "holds no rows"),
        "one row": (good.head(1), "1 usable rows; intervals need at least 200"),
        "missing column": (good.drop(columns=["age_years"]), "lacks age_years; it has square_feet"),
        "constant target": (good.assign(price=250_000), "the target is 250000 in every row"),
        "many equal targets": (
            good.assign(price=np.where(np.arange(400) < 8, 300_000, 250_000)),
            "too many equal targets",
        ),
        "mostly bad": (good.assign(bedrooms=-1), "400 of 400 rows break the schema"),
    }


@pytest.mark.parametrize("case", unusable_tables())
def test_an_unusable_table_is_one_clear_line(tmp_path: Path, case: str) -> None:
    table, reason = unusable_tables()[case]
    file = tmp_path / "sales.csv"
    file.write_bytes(table) if isinstance(table, bytes) else table.to_csv(file, index=False)
    result = train(tmp_path, "--data", str(file), "--out", "out.joblib")
    assert result.returncode == 1
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out.joblib").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--data", "nowhere.csv"), "nowhere.csv does not exist"),
        (("--data", "sales.xlsx"), "give a .csv or a .parquet file"),
        (("--rows", "0"), "0 usable rows"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = train(tmp_path, *arguments, "--out", "out.joblib")
    assert result.returncode == 1
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_champion_stops_training_before_it_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "champion.joblib").write_bytes(b"not a model")
    result = train(tmp_path, "--rows", "1200")
    assert result.returncode == 1
    assert "champion.joblib: not a model artifact" in result.stderr
    assert (tmp_path / "champion.joblib").read_bytes() == b"not a model"


def king_county_like(rows: int) -> pd.DataFrame:
    """A small table in the public layout, one typing error and one house sold twice included."""
    market_rows = pd.DataFrame(HOUSING.simulate(rows, 4))
    days = pd.date_range("2014-05-02", "2015-05-27", periods=rows)
    frame = pd.DataFrame(
        {
            "id": [f"{number:010}" for number in range(rows)],
            "date": days.strftime("%Y%m%dT000000"),
            "price": market_rows["price"],
            "bedrooms": market_rows["bedrooms"].astype(int),
            "bathrooms": market_rows["bathrooms"],
            "sqft_living": market_rows["square_feet"],
            "yr_built": (days.year - market_rows["age_years"]).astype(int),
            "lat": 47.6062 + market_rows["distance_to_city"] / 69.0,
            "long": -122.3321,
        }
    )
    frame.loc[5, "bedrooms"] = 33
    frame.loc[rows - 1, "id"] = frame.loc[0, "id"]
    return frame


def test_the_king_county_layout_is_understood(tmp_path: Path) -> None:
    king_county_like(600).to_csv(tmp_path / "kc.csv", index=False)
    layout = ("--layout", "king-county")
    result = train(tmp_path, "--data", "kc.csv", *layout, "--out", "kc.joblib")
    assert result.returncode == 0, result.stderr
    card = read(tmp_path / "kc.joblib").card
    features = {feature.name: feature for feature in card.features}
    assert features["bedrooms"].high < 33
    assert card.data["fitted"] + card.calibration["rows"] + card.data["tested"] == 599


@pytest.mark.parametrize(
    ("latitude", "longitude", "miles"),
    [(47.6062, -122.3321, 0.0), (48.6062, -122.3321, 69.09), (47.6101, -122.2015, 6.09)],
)
def test_distances_are_great_circle_miles_from_the_centre_of_seattle(
    latitude: float, longitude: float, miles: float
) -> None:
    assert miles_from(*SEATTLE, latitude, longitude) == pytest.approx(miles, abs=0.02)


def test_a_table_in_another_layout_is_refused(tmp_path: Path) -> None:
    sales().to_csv(tmp_path / "sales.csv", index=False)
    arguments = ("--data", "sales.csv", "--layout", "king-county", "--out", "out.joblib")
    result = train(tmp_path, *arguments)
    assert result.returncode == 1
    assert "not in the layout king-county: 'date'" in result.stderr


@needs_king_county
def test_the_real_king_county_table_gives_intervals_that_cover(tmp_path: Path) -> None:
    arguments = ("--data", str(KING_COUNTY), "--layout", "king-county", "--out", "kc.joblib")
    result = train(tmp_path, *arguments)
    metrics = read(tmp_path / "kc.joblib").card.metrics["test"]
    assert result.returncode == 0, result.stderr
    assert metrics["coverage_90"] > 0.88
    assert metrics["winkler_90"] < 685_000


def test_help_shows_an_example(tmp_path: Path) -> None:
    result = train(tmp_path, "--help")
    assert result.returncode == 0
    assert "example: python train_model.py --data" in result.stdout
