"""The training script as people run it: a process, its output, its files, its exit code."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.assemble import open_signer
from engine.domain.artifact import Artifact
from engine.domain.schema import Vector
from engine.model.runtime import run
from engine.stores.files import ArtifactFile
from engine.tables.split import hold_out, split
from engine.tables.table import check
from problems.housing import HOUSING, SEATTLE, miles_from, simulate
from tests.conftest import KING_COUNTY, empty_settings, market, needs_king_county
from tests.scripts import Done, run_here, run_process
from train_model import train as train_command


def below(folder: Path) -> dict[str, str]:
    return {"DATA_DIR": f"{folder}/data", "MODEL_PATH": f"{folder}/champion.joblib"}


def train(folder: Path, *arguments: str) -> Done:
    """Run `train_model.py` with its data below `folder`."""
    return run_process("train_model", *arguments, environment=below(folder), folder=folder)


def train_here(folder: Path, *arguments: str) -> Done:
    return run_here(train_command, *arguments, environment=below(folder), folder=folder)


def predictions(path: Path) -> Vector:
    artifact = read(path)
    outputs = run(artifact.graph, market(50, seed=77).rows)
    return artifact.calibration.values(outputs)


def read(path: Path) -> Artifact:
    """An artifact of a run in its own folder, signed with the key that run made."""
    settings = empty_settings(path.parent)
    return ArtifactFile(path, open_signer(settings)).load()


def sales(rows: int = 400) -> pd.DataFrame:
    return pd.DataFrame(simulate(rows, 3))


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


@pytest.mark.slow
def test_training_again_keeps_what_was_champion_and_releases_the_next_minor(
    tmp_path: Path,
) -> None:
    first = train(tmp_path, "--rows", "1200", "--out", "champion.joblib")
    found = (tmp_path / "champion.joblib").read_bytes()
    second = train(tmp_path, "--rows", "1200", "--seed", "5")
    saved = {path.stem for path in (tmp_path / "data" / "models" / "housing").iterdir()}
    assert (first.returncode, second.returncode) == (0, 0)
    assert saved == {"v1.0.0", "v1.1.0", "v1.2.0-rc.1"}
    assert (tmp_path / "data" / "models" / "housing" / "v1.0.0.joblib").read_bytes() == found
    assert read(tmp_path / "champion.joblib").card.version == "v1.1.0"


@pytest.mark.slow
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
    result = train_here(tmp_path, "--data", str(file), "--out", "out.joblib")
    assert result.returncode == 0, result.stderr
    card = read(tmp_path / "out.joblib").card
    assert card.data["source"] == f"sales{suffix}"
    assert card.data["rows"] == 400
    assert not (tmp_path / "data" / "models").exists()


def test_rows_that_break_the_schema_are_set_aside_in_a_report(tmp_path: Path) -> None:
    frame = sales().astype(object)
    frame.loc[2, "square_feet"] = -5
    frame.loc[4, "bathrooms"] = "two"
    frame.loc[6, "bedrooms"] = 2.5
    frame.loc[8, "price"] = np.nan
    frame.to_csv(tmp_path / "sales.csv", index=False)
    result = train_here(tmp_path, "--data", "sales.csv", "--out", "out.joblib")
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
            good.assign(price=np.where(np.arange(400) < 1, 300_000, 250_000)),
            "too many rows have the same target",
        ),
        "a column twice": (
            good.rename(columns={"price": "bedrooms"}).assign(price=good["price"]),
            "the column bedrooms appears more than once",
        ),
        "groups over all times": (
            good.assign(group=np.arange(400) % 80, time=np.arange(400)),
            "groups among the newest rows go far back",
        ),
        "few groups": (good.assign(group=np.arange(400) % 6), "fewer than 50 groups"),
        "prices of other houses": (
            good.assign(price=np.random.default_rng(0).permutation(good["price"])),
            "every candidate predicts worse than one value for all rows does (the best has a",
        ),
        "mostly bad": (good.assign(bedrooms=-1), "400 of 400 rows break the schema"),
    }


@pytest.mark.slow
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
    ],
)
def test_wrong_arguments_are_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = train_here(tmp_path, *arguments, "--out", "out.joblib")
    assert result.returncode == 1
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rows", "0"),
        ("--rows", "-5"),
        ("--rows", "100000000000"),
        ("--seed", "-1"),
        ("--max-bad-share", "2"),
        ("--layout", "king-county"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_before_anything_is_done(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = train_here(tmp_path, *arguments)
    assert result.returncode == 2
    assert arguments[0] in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["/dev/null/out.joblib", "."])
def test_a_place_that_cannot_be_written_is_noticed_before_training(
    tmp_path: Path, out: str
) -> None:
    result = train_here(tmp_path, "--rows", "1200", "--out", out)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "rows to learn from" not in result.stdout


def test_times_are_compared_as_numbers_or_dates_and_a_row_without_one_is_set_aside() -> None:
    frame = sales().assign(time=[str(9_000 + row) for row in range(399)] + ["soon"])
    table, rejected = check(HOUSING, frame, "sales")
    assert rejected.report[["row", "column"]].to_numpy().tolist() == [[400, "time"]]
    _, newest = hold_out(table, 0.2, seed=0)
    assert sorted(newest) == list(range(319, 399))
    dated = frame.assign(time=pd.date_range("2024-12-20", periods=400).astype(str))
    times = check(HOUSING, dated, "sales")[0].times
    assert times is not None
    assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ([2000.9, 2000.1, None], [2000.9, 2000.1]),
        (["2000.9", "2000.1", "inf"], [2000.9, 2000.1]),
        (pd.to_datetime(["1970-01-02", "1970-01-01", "NaT"]), [86_400, 0]),
        (pd.to_datetime(["1970-01-02", "1970-01-01", "NaT"], utc=True), [86_400, 0]),
        (pd.Categorical(["1970-01-02", "1970-01-01T00:00:01.5", None]), [86_400, 1.5]),
        (["1970", "1970-01-02", "1970-01-03"], [0, 86_400, 172_800]),
        ([1970, "1970-01-02", 1971], [1970, 1971]),
    ],
)
def test_a_time_is_kept_to_its_fraction_and_a_missing_one_is_none(
    written: Any, seconds: list[float]
) -> None:
    table, rejected = check(HOUSING, sales(3).assign(time=written), "sales")
    assert table.times is not None
    assert table.times.tolist() == seconds
    assert rejected.rows == 3 - len(seconds)


def test_rows_without_a_target_are_set_aside_but_are_no_mistakes() -> None:
    frame = sales(400)
    frame.loc[:99, "price"] = np.nan
    table, rejected = check(HOUSING, frame.assign(bedrooms=frame["bedrooms"].replace(0, 1)), "s")
    assert (len(table), rejected.rows, rejected.of, rejected.share) == (300, 100, 400, 0)
    frame.loc[100:199, "age_years"] = -1
    assert check(HOUSING, frame, "s")[1].share == pytest.approx(1 / 3)


def test_a_row_that_names_no_group_is_a_group_of_its_own() -> None:
    groups = pd.Series([f"g{row // 2}" if row < 100 else None for row in range(400)])
    frame = sales().assign(group=groups)
    table, _ = check(HOUSING, frame, "sales")
    assert len(np.unique(table.groups)) == 50 + 300


def test_a_group_is_never_on_two_sides_of_a_split() -> None:
    frame = sales().assign(group=np.arange(400) // 5, time=np.arange(400))
    for table in (check(HOUSING, f, "s")[0] for f in (frame, frame.drop(columns="time"))):
        parts = split(table, seed=2)
        sides = [set(table.groups[rows]) for rows in (parts.fit, parts.calibration, parts.test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]


def test_a_damaged_champion_stops_training_before_it_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "champion.joblib").write_bytes(b"not a model")
    result = train(tmp_path, "--rows", "1200")
    assert result.returncode == 1
    assert "champion.joblib: not a model artifact" in result.stderr
    assert (tmp_path / "champion.joblib").read_bytes() == b"not a model"


def king_county_like(rows: int) -> pd.DataFrame:
    """A small table in the public layout, one typing error and one house sold twice included."""
    market_rows = pd.DataFrame(simulate(rows, 4))
    days = pd.date_range("2014-05-02", "2015-05-27", periods=rows)
    frame = pd.DataFrame(
        {
            "id": [f"{number % (rows - 1):010}" for number in range(rows)],
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
    return frame


@pytest.mark.slow
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
    assert miles_from(SEATTLE, latitude, longitude) == pytest.approx(miles, abs=0.02)


def test_a_table_in_another_layout_is_refused(tmp_path: Path) -> None:
    sales().to_csv(tmp_path / "sales.csv", index=False)
    arguments = ("--data", "sales.csv", "--layout", "king-county", "--out", "out.joblib")
    result = train_here(tmp_path, *arguments)
    assert result.returncode == 1
    assert "not in the layout king-county: 'date'" in result.stderr


@pytest.mark.slow
@needs_king_county
def test_the_real_king_county_table_gives_intervals_that_cover(tmp_path: Path) -> None:
    arguments = ("--data", str(KING_COUNTY), "--layout", "king-county", "--out", "kc.joblib")
    result = train(tmp_path, *arguments)
    metrics = read(tmp_path / "kc.joblib").card.metrics["test"]
    assert result.returncode == 0, result.stderr
    assert metrics["coverage_90"] > 0.88
    assert metrics["winkler_90"] < 685_000


def test_help_shows_an_example(tmp_path: Path) -> None:
    result = train_here(tmp_path, "--help")
    assert result.returncode == 0
    assert "python train_model.py --data" in result.stdout
