"""The training script on somebody's own table, and on whatever is served without a model."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.server import ROOT, free_port
from engine.assemble import card_of, export, open_features, open_stores
from engine.settings import Settings
from problems.basket import BASKET
from problems.housing import HOUSING
from tests.conftest import running
from tests.scripts import Done, run_here, run_process
from tests.trained import folder_of_run, home_with, settings_of
from train_model import train as train_command

ROWS = 300


def flats(rows: int = ROWS, **columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    area, centre = rng.normal(75, 20, rows).clip(20).round(1), rng.random(rows) < 0.5
    price = 3_000 * area * np.where(centre, 1.3, 1) * np.exp(rng.normal(0, 0.1, rows))
    sold = rng.random(rows) < np.where(centre, 0.85, 0.15)
    return pd.DataFrame(
        {
            "Living Area": area,
            "floor": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 8, rows)),
            "district": np.where(centre, "centre", "north"),
            "price": price.round(-2),
            "sold": np.where(sold, "yes", "no"),
            **columns,
        }
    )


def train(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run the script in a folder of its own, with nobody at a terminal."""
    return run_process("train_model", *arguments, environment=environment, folder=folder)


def train_here(folder: Path, *arguments: str, **environment: str) -> Done:
    return run_here(train_command, *arguments, environment=environment, folder=folder)


def answering(folder: Path, word: str, *arguments: str) -> int:
    """The exit code of the script with somebody at a terminal who answers with one word."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "w") as fingers, os.fdopen(theirs) as terminal:
        print(word, file=fingers, flush=True)
        done = run_here(train_command, *arguments, environment={}, folder=folder, answers=terminal)
    return done.returncode


def saved(folder: Path, problem: str) -> list[str]:
    return sorted(path.stem for path in (folder / "data" / "models" / problem).glob("*.joblib"))


def served(folder: Path, *names: str) -> Settings:
    """What the script left in a folder, for a service of these problems."""
    return settings_of(folder, *names)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    flats().to_csv(tmp_path / "flats.csv", index=False)
    return tmp_path


OWN = ("--data", "flats.csv", "--target", "price")


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_table_becomes_a_service_with_its_own_columns(own_folder: Path) -> None:
    first = train(own_folder, *OWN, "--drop", "sold", "--yes")
    second = train(
        own_folder, "--data", "flats.csv", "--target", "sold", "--name", "quick", "--yes"
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "serve it: SERVE=flats make serve" in first.stdout
    assert (own_folder / "data" / "reports" / "flats-v1.0.0.html").exists()
    row = {"Living Area": 80, "district": "centre"}
    async with running(served(own_folder, "flats", "quick")) as client:
        price = (await client.post("/predict", json=row)).json()
        sold = (await client.post("/v1/quick/predict", json={**row, "price": 3e5})).json()
        wrong = await client.post("/predict", json={**row, "floor": "low"})
        shown = (await client.get("/openapi.json")).json()["components"]["schemas"]["flats_Row"]
    interval = price["confidence_interval"]
    assert interval["lower"] < price["prediction"] < interval["upper"]
    assert sold["prediction"] in {"yes", "no"}
    assert 0 < sold["probability"] < 1
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "floor")
    assert list(shown["properties"]) == ["price", "sold", "Living Area", "floor", "district"]


def test_nobody_is_asked_where_nobody_can_answer(own_folder: Path) -> None:
    result = train(own_folder, *OWN)
    assert result.returncode == 2
    assert "pass --yes" in result.stderr
    assert "Living Area" in result.stdout
    assert saved(own_folder, "flats") == []


@pytest.mark.parametrize("word", ["n", ""])
def test_whoever_does_not_agree_gets_no_model(own_folder: Path, word: str) -> None:
    assert answering(own_folder, word, *OWN) == 2
    assert saved(own_folder, "flats") == []


def test_what_stands_in_the_way_is_said_at_once_and_nothing_is_left_behind(
    own_folder: Path,
) -> None:
    flats(note="x").to_csv(own_folder / "flats.csv", index=False)
    result = train_here(own_folder, "--data", "flats.csv", "--target", "prize", "--yes")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "error: flats.csv cannot be trained on yet:"
    assert "did you mean price?" in result.stderr
    assert "--drop note" in result.stderr
    assert not (own_folder / "data").exists()


@pytest.mark.slow
def test_a_name_stands_for_one_contract(own_folder: Path) -> None:
    """The same columns are a new minor, other columns are refused or a new major."""
    first = train(own_folder, *OWN, "--yes")
    flats(400).assign(price=lambda t: 2 * t["price"]).to_csv(own_folder / "newer.csv", index=False)
    newer = ("--data", "newer.csv", "--target", "price", "--name", "flats", "--yes")
    again = train(own_folder, *newer)
    other = train(own_folder, *newer, "--drop", "sold")
    forced = train(own_folder, *newer, "--drop", "sold", "--yes-major")
    codes = [result.returncode for result in (first, again, other, forced)]
    assert codes == [0, 0, 1, 0], first.stderr + again.stderr + forced.stderr
    assert "flats v1.1.0 has other columns" in other.stderr
    majors = ["v2.0.0", "v2.1.0-rc.1"]
    assert saved(own_folder, "flats") == ["v1.0.0", "v1.1.0", "v1.1.0-rc.1", "v1.2.0-rc.1", *majors]
    assert card_of(served(own_folder, "flats"), "flats").version == "v2.0.0"


@pytest.mark.slow
def test_whoever_agrees_gets_a_model_that_is_trained_anew_as_its_card_declares_it(
    own_folder: Path,
) -> None:
    assert answering(own_folder, "y", *OWN, "--drop", "sold") == 0
    before = card_of(served(own_folder, "flats"), "flats")
    flats(400).to_csv(own_folder / "newer.csv", index=False)
    without = train(own_folder, "--problem", "flats")
    result = train(own_folder, "--problem", "flats", "--data", "newer.csv")
    after = card_of(served(own_folder, "flats"), "flats")
    assert (without.returncode, result.returncode) == (2, 0), result.stderr
    assert "pass --data" in without.stderr
    assert (before.version, after.version, after.data["rows"]) == ("v1.0.0", "v1.1.0", 400)
    assert after.declared == before.declared


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((*OWN, "--name", "housing"), "housing is a built-in problem"),
        ((*OWN, "--name", "Flats!"), "'Flats!' is not a name"),
        (("--target", "price"), "--target needs --data"),
        ((*OWN, "--problem", "churn"), "--target cannot be used with --problem"),
        (("--data", "flats.csv", "--drop", "sold"), "--drop needs --target"),
        (("--served", "--data", "flats.csv"), "--served cannot be used with --data"),
        (("--problem", "flats"), "train one of your own"),
        (("--data", "flats.csv", "--layout", "king"), "housing has no layout king"),
    ],
)
def test_arguments_that_cannot_be_meant_change_nothing(
    own_folder: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = train_here(own_folder, *arguments)
    assert result.returncode == 2
    assert reason in result.stderr.splitlines()[-1]
    assert not (own_folder / "data").exists()


def test_a_file_of_a_strange_name_gets_a_name_that_works(own_folder: Path) -> None:
    flats().to_csv(own_folder / "Flats of 2024 (new).csv", index=False)
    result = train_here(own_folder, "--data", "Flats of 2024 (new).csv", "--target", "price")
    assert "flats_of_2024_new, as Flats of 2024 (new).csv has it" in result.stdout


@pytest.mark.slow
def test_what_is_served_and_has_no_model_is_trained_with_the_features_it_looks_up(
    tmp_path: Path,
) -> None:
    result = train(tmp_path, "--served", "--rows", "1200", SERVE="basket")
    assert result.returncode == 0, result.stderr
    assert saved(tmp_path, "basket") == ["v1.0.0", "v1.1.0-rc.1"]
    assert BASKET.lookup is not None
    store = open_features(served(tmp_path, "basket"))
    assert store.count("basket") == len(BASKET.lookup.simulate(1200, 0)["at"])
    store.close()


@pytest.fixture
def basket_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A folder with a model of baskets from some source, and no features."""

    def made(source: str) -> Path:
        home = home_with([BASKET], folder_of_run(tmp_path_factory), tmp_path / "elsewhere")
        model = open_stores(served(home, "basket"), "basket").champion.load()
        card = model.card.model_copy(update={"data": {**model.card.data, "source": source}})
        settings = served(tmp_path, "basket")
        export(settings, replace(model, card=card), settings.model_of("basket"))
        return tmp_path

    return made


def kept(folder: Path) -> int:
    with closing(open_features(served(folder, "basket"))) as store:
        return store.count("basket")


def imported_for(settings: Settings, name: str) -> set[str]:
    """The modules that a run of `--served` imports."""
    own = {"DATA_DIR": str(settings.data_dir), "MODEL_PATH": str(settings.model_path)}
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "train_model.py"), "--served"],
        env={**os.environ, **own, "SERVE": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


TO_TRAIN = {"sklearn", "pandas", "matplotlib", "onnx", "rich"}


def test_a_model_of_simulated_rows_gets_the_features_that_its_store_lost(
    basket_folder: Callable[[str], Path],
) -> None:
    folder = basket_folder("simulated market, 1200 rows, seed 0")
    result = train_here(folder, "--served", "--rows", "50", SERVE="basket")
    assert (result.returncode, result.stderr) == (0, "")
    settings = served(folder, "basket")
    with closing(open_features(settings)) as store:
        assert "abc123" in store.get("basket", ["abc123"], "9999-01-01T00:00:00.000Z")
    before = kept(folder)
    assert not TO_TRAIN & imported_for(settings, "basket")
    assert kept(folder) == before > 0


def test_a_model_of_somebodys_rows_gets_no_simulated_features(
    basket_folder: Callable[[str], Path],
) -> None:
    folder = basket_folder("orders.csv")
    assert not TO_TRAIN & imported_for(served(folder, "basket"), "basket")
    assert kept(folder) == 0


def test_a_store_that_fails_keeps_no_service_from_starting(
    basket_folder: Callable[[str], Path],
) -> None:
    folder = basket_folder("simulated market, 1200 rows, seed 0")
    nobody = f"redis://127.0.0.1:{free_port()}"
    result = train_here(folder, "--served", SERVE="basket", FEATURES_URL=nobody)
    assert (result.returncode, len(result.stderr.splitlines())) == (0, 1)
    assert result.stderr.startswith("warning: basket: the features cannot be used: ")


def test_where_everything_served_has_a_model_nothing_to_train_is_imported(
    settings: Settings,
) -> None:
    imported = imported_for(settings, HOUSING.name)
    assert "problems.declared" in imported
    assert not TO_TRAIN & imported


@pytest.mark.slow
def test_two_data_folders_of_one_checkout_keep_their_models_apart(tmp_path: Path) -> None:
    """And a model whose key is lost is said to be refused before it is served."""
    seeds = {"data": 1, "other": 2}
    for name, seed in seeds.items():
        result = train(tmp_path, "--rows", "300", "--seed", str(seed), DATA_DIR=name)
        assert result.returncode == 0, result.stderr
    places = {"data": tmp_path / "housing_model.joblib"}
    places["other"] = tmp_path / "other" / "housing_model.joblib"
    assert all(place.exists() for place in places.values())
    for name, place in places.items():
        own = train(tmp_path, "--served", DATA_DIR=name)
        assert (own.returncode, own.stdout, own.stderr) == (0, "", "")
        settings = Settings(_env_file=None, data_dir=tmp_path / name, model_path=place)
        assert open_stores(settings, "housing").champion.load().card.seed == seeds[name]
    shutil.rmtree(tmp_path / "data")
    result = train(tmp_path, "--served")
    assert (result.returncode, len(result.stderr.splitlines())) == (0, 1)
    assert "not among the trusted keys" in result.stderr
    assert "python train_model.py --problem housing trains another one" in result.stderr


def test_a_problem_of_ones_own_that_has_no_model_is_one_line_with_the_way_out(
    tmp_path: Path,
) -> None:
    result = train_here(tmp_path, "--served", SERVE="flats")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "train_model.py --data FILE --target COLUMN --name flats" in result.stderr
