"""The retraining script as people run it: it promotes on a market that changed, and keeps on one
that did not; whatever happens to it, the champion is the old one or the new one."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.server import ROOT
from engine.assemble import export, open_stores
from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.contract import same_contract
from engine.domain.effort import BEST, FAST, Effort
from engine.domain.errors import Outpaced
from engine.domain.version import Version
from engine.learning.challenge import unseen
from engine.settings import Settings
from engine.tables.table import check, row_hashes
from problems.housing import HOUSING, simulate
from retrain import retrain as script
from tests.conftest import empty_settings, market
from tests.scripts import Done, run_here, run_process

KEPT, PROMOTED, FAILED = 10, 0, 1


def environment(settings: Settings) -> dict[str, str]:
    own = {"DATA_DIR": str(settings.data_dir), "MODEL_PATH": str(settings.model_path)}
    return {**os.environ, **own, "COLUMNS": "200"}


def retrain(settings: Settings, *arguments: str) -> Done:
    return run_process("retrain", *arguments, environment=environment(settings))


def retrain_here(settings: Settings, *arguments: str) -> Done:
    return run_here(script, *arguments, environment=environment(settings))


def champion(settings: Settings) -> str:
    return open_stores(settings, "housing").champion.load().card.version


def sales(folder: Path, *, change: float = 1.0, seed: int = 40, rows: int = 2_500) -> str:
    """A file with sales of the market as it was, or with prices near the centre changed."""
    frame = pd.DataFrame(simulate(rows, seed))
    near = frame["distance_to_city"] < 12
    frame["price"] = frame["price"].where(~near, (frame["price"] * change).round(-2))
    file = folder / f"sales-{change:g}.csv"
    frame.to_csv(file, index=False)
    return str(file)


def test_a_market_that_changed_gets_a_new_champion_with_a_minor_release(
    settings: Settings,
) -> None:
    result = retrain(settings, "--data", sales(settings.data_dir, change=1.6))
    stores = open_stores(settings, "housing")
    last = stores.champion.history()[-1]
    assert result.returncode == PROMOTED, result.stderr + result.stdout
    assert champion(settings) == "v1.1.0"
    assert (last.action, str(last.challenger), last.who) == (
        "promoted",
        "v1.1.0-rc.2",
        "retrain.py",
    )
    assert "Promote" in result.stdout
    assert all(name in result.stdout for name in ("RMSE", "interval score", "worst slice"))
    page = (settings.data_dir / "reports" / "housing-v1.1.0-rc.2.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page


def test_a_market_that_did_not_change_keeps_its_champion_and_says_why(settings: Settings) -> None:
    result = retrain_here(settings, "--data", sales(settings.data_dir))
    stores = open_stores(settings, "housing")
    last = stores.champion.history()[-1]
    assert result.returncode == KEPT, result.stderr + result.stdout
    assert champion(settings) == "v1.0.0"
    assert (last.action, str(last.challenger)) == (history.Action.KEPT, "v1.1.0-rc.2")
    assert last.why.startswith("Keep the champion")
    assert "v1.1.0" not in {str(one) for one in stores.artifacts.versions("housing")}
    assert history.attempts(stores.champion.history()) == 1


@pytest.mark.parametrize(("asked", "effort"), [([], FAST), (["--effort", "best"], BEST)])
def test_a_challenger_is_as_large_as_its_champion_unless_told_otherwise(
    settings: Settings, asked: list[str], effort: Effort
) -> None:
    """The champion here is a fast one."""
    result = retrain_here(settings, "--data", sales(settings.data_dir), *asked)
    artifacts = open_stores(settings, "housing").artifacts
    assert result.returncode == KEPT, result.stderr + result.stdout
    assert artifacts.load("housing", Version.parse("v1.1.0-rc.2")).card.effort == effort


@pytest.mark.slow
def test_a_dry_run_changes_nothing(settings: Settings) -> None:
    file = sales(settings.data_dir, change=1.6)
    before = {path: path.stat().st_mtime_ns for path in files(settings)}
    result = retrain(settings, "--data", file, "--dry-run")
    assert result.returncode == KEPT
    assert "Promote" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in files(settings)} == before


def files(settings: Settings) -> list[Path]:
    return [p for p in settings.data_dir.parent.rglob("*") if p.is_file() and p.suffix != ".lock"]


@pytest.mark.slow
def test_rollback_and_back_again(settings: Settings) -> None:
    retrain(settings, "--data", sales(settings.data_dir, change=1.6))
    assert retrain(settings, "--rollback").returncode == PROMOTED
    assert champion(settings) == "v1.0.0"
    assert retrain(settings, "--rollback", "v1.1.0").returncode == PROMOTED
    assert champion(settings) == "v1.1.0"
    actions = [event.action for event in open_stores(settings, "housing").champion.history()]
    assert actions == ["trained", "promoted", "rolled back", "rolled back"]


def test_there_is_nothing_to_go_back_to_at_first(settings: Settings) -> None:
    for arguments, reason in (
        ((), "no earlier champion"),
        (("v9.0.0",), "v9.0.0 was never champion; the champions were v1.0.0"),
    ):
        result = retrain_here(settings, "--rollback", *arguments)
        assert result.returncode == FAILED
        assert reason in result.stderr


@pytest.mark.slow
def test_recalibration_is_a_patch_with_the_same_predictions(settings: Settings) -> None:
    before = open_stores(settings, "housing").champion.load()
    result = retrain(settings, "--data", sales(settings.data_dir, change=1.2), "--recalibrate")
    after = open_stores(settings, "housing").champion.load()
    assert result.returncode == PROMOTED, result.stderr + result.stdout
    assert after.card.version == "v1.0.1"
    assert after.graph == before.graph
    assert after.card.metrics["judged"]["agreement"] > 0.99
    assert np.array_equal(after.golden.values, before.golden.values)
    assert not np.array_equal(after.golden.upper, before.golden.upper)


def test_rows_the_champion_has_seen_never_judge_it(artifacts: list[Artifact]) -> None:
    table, _ = check(HOUSING, pd.DataFrame(simulate(2_500, 1)), "the champion's own")
    rest, judged = unseen(table, artifacts[0], seed=0)
    hashes = row_hashes(table.take(judged))
    assert not np.isin(hashes, artifacts[0].seen).any()
    assert len(judged) == 500
    assert not set(table.groups[rest]) & set(table.groups[judged])


def test_equal_rows_are_on_one_side_only(artifacts: list[Artifact]) -> None:
    """Overlapping exports: a twin of a judged row, learned from, would be the answer."""
    once = pd.DataFrame(simulate(1_500, 41))
    old = pd.DataFrame(simulate(2_500, 1))
    for times in ({}, {"time": np.arange(5_500)}):
        frame = pd.concat([old, once, once], ignore_index=True).assign(**times)
        table, _ = check(HOUSING, frame, "twice")
        rest, judged = unseen(table, artifacts[0], seed=0)
        numbers = row_hashes(table)
        assert not np.isin(numbers[rest], numbers[judged]).any()
        assert len(np.unique(numbers[judged])) == len(judged)


def test_a_group_the_champion_has_learned_from_does_not_judge_it(
    artifacts: list[Artifact],
) -> None:
    old = pd.DataFrame(simulate(2_500, 1)).assign(group=np.arange(2_500) % 500)
    new = pd.DataFrame(simulate(1_500, 41)).assign(group=np.arange(1_500))
    table, _ = check(HOUSING, pd.concat([old, new], ignore_index=True), "grouped")
    _, judged = unseen(table, artifacts[0], seed=0)
    seen = np.isin(row_hashes(table), artifacts[0].seen)
    assert not set(table.groups[judged]) & set(table.groups[seen])


@pytest.mark.slow
def test_a_registry_that_is_new_takes_nothing_away(settings: Settings) -> None:
    file = sales(settings.data_dir)
    before = {path.name for path in (settings.data_dir / "models" / "housing").iterdir()}
    elsewhere = f"sqlite:///{settings.data_dir / 'other.db'}"
    result = subprocess.run(
        [sys.executable, str(ROOT / "retrain.py"), "--data", file],
        env={**environment(settings), "REGISTRY_URL": elsewhere},
        capture_output=True,
        check=False,
    )
    after = {path.name for path in (settings.data_dir / "models" / "housing").iterdir()}
    assert result.returncode == KEPT
    assert before < after


@pytest.mark.slow
def test_a_foreign_model_with_a_taken_number_is_adopted_under_the_next(
    settings: Settings, artifacts: list[Artifact]
) -> None:
    stranger = artifacts[1].named(Version.parse("v1.0.0"))
    export(settings, stranger, settings.model_of("housing"))
    result = retrain(settings, "--data", sales(settings.data_dir))
    actions = [event.action for event in open_stores(settings, "housing").champion.history()]
    assert result.returncode in {KEPT, PROMOTED}, result.stderr
    assert actions[:2] == ["trained", "adopted"]
    assert str(open_stores(settings, "housing").champion.history()[1].version) == "v1.1.0"


def test_without_a_champion_it_says_what_to_do(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path)
    settings.data_dir.mkdir()
    result = retrain_here(settings, "--data", sales(settings.data_dir))
    assert result.returncode == FAILED
    assert result.stderr == "error: there is no champion yet; train one with train_model.py\n"


def test_a_table_without_news_is_not_judged(settings: Settings, artifacts: list[Artifact]) -> None:
    frame = pd.DataFrame(simulate(2_500, 1))
    known = np.isin(row_hashes(market(2_500, seed=1)), artifacts[0].seen)
    frame[known].to_csv(settings.data_dir / "old.csv", index=False)
    result = retrain_here(settings, "--data", str(settings.data_dir / "old.csv"))
    assert result.returncode == KEPT
    assert "are new to the champion" in result.stdout
    assert len(open_stores(settings, "housing").champion.history()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--data", "nowhere.csv"), 1, "does not exist"),
        (("--data", "x.csv", "--layout", "mars"), 2, "has no layout mars"),
        (("--data", "x.csv", "--every", "soon"), 2, "--every"),
        (("--data", "x.csv", "--every=-2s"), 2, "--every"),
        (("--data", "x.csv", "--seed", "-1"), 2, "--seed"),
        (("--rollback", "--dry-run"), 2, "--rollback cannot be used with --dry-run"),
    ],
)
def test_wrong_arguments_say_so(
    settings: Settings, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    result = retrain_here(settings, *arguments)
    assert result.returncode == code
    assert reason in result.stderr.splitlines()[-1]


def test_another_contract_is_another_major_version(artifacts: list[Artifact]) -> None:
    assert same_contract(HOUSING, artifacts[0].card)
    renamed = artifacts[0].card.model_copy(update={"target_unit": "EUR"})
    assert not same_contract(HOUSING, renamed)
    fewer = artifacts[0].card.model_copy(update={"features": artifacts[0].card.features[:4]})
    assert not same_contract(HOUSING, fewer)


@pytest.mark.slow
def test_a_changed_contract_needs_a_yes(settings: Settings, artifacts: list[Artifact]) -> None:
    stores = open_stores(settings, "housing")
    foreign = artifacts[0].card.model_copy(update={"target_unit": "EUR", "version": "v1.5.0"})
    stores.artifacts.save(replace(artifacts[0], card=foreign))
    stores.champion.move("loaded", Version.parse("v1.5.0"), who="tests", why="euros", after=1)
    file = sales(settings.data_dir)
    refused = retrain(settings, "--data", file)
    allowed = retrain(settings, "--data", file, "--yes-major")
    assert refused.returncode == FAILED
    assert "--yes-major" in refused.stderr
    assert allowed.returncode == PROMOTED, allowed.stderr
    assert champion(settings) == "v2.0.0"


@pytest.mark.slow
def test_another_scikit_learn_recalibrates_only_when_told_to(
    settings: Settings, artifacts: list[Artifact]
) -> None:
    stores = open_stores(settings, "housing")
    libraries = {**artifacts[0].card.libraries, "scikit-learn": "1.2.3"}
    card = artifacts[0].card.model_copy(update={"libraries": libraries, "version": "v1.5.0"})
    stores.artifacts.save(replace(artifacts[0], card=card))
    stores.champion.move("loaded", Version.parse("v1.5.0"), who="tests", why="old", after=1)
    arguments = ("--data", sales(settings.data_dir, change=1.2), "--recalibrate")
    refused, allowed = (
        retrain(settings, *arguments),
        retrain(settings, *arguments, "--other-library"),
    )
    assert refused.returncode == FAILED
    assert "was trained with scikit-learn 1.2.3" in refused.stderr
    assert allowed.returncode == PROMOTED, allowed.stderr
    assert champion(settings) == "v1.5.1"


def test_two_at_once_one_is_told_to_wait(settings: Settings) -> None:
    with open_stores(settings, "housing").training():
        result = retrain_here(settings, "--data", sales(settings.data_dir))
    assert result.returncode == FAILED
    assert "another training holds" in result.stderr


def test_a_rollback_during_training_wins_and_the_training_is_told(settings: Settings) -> None:
    stores = open_stores(settings, "housing")
    past = len(stores.champion.history())
    first = stores.champion.load()
    release = first.named(history.next_minor(stores.champion.history(), []))
    stores.artifacts.save(release)
    move = partial(stores.champion.move, who="tests", why="a race", after=past)
    candidate = Version.parse("v1.1.0-rc.1")
    move("loaded", candidate)
    with pytest.raises(Outpaced):
        move("promoted", Version.parse("v1.1.0"))
    assert champion(settings) == "v1.1.0-rc.1"


@pytest.mark.load
def test_killed_at_any_moment_the_champion_is_whole(settings: Settings) -> None:
    """kill -9 while rollbacks move the pointer to and fro, at many random moments."""
    retrain(settings, "--data", sales(settings.data_dir, change=1.6))
    script = (
        "import sys; from engine.settings import load_settings; "
        "from engine.assemble import open_stores; from engine.domain.history import before; "
        "c = open_stores(load_settings(), 'housing').champion; print('on', flush=True)\n"
        "while True:\n"
        "    past = c.history()\n"
        "    c.move('rolled back', before(past), who='t', why='t', after=len(past))\n"
    )
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(15):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**environment(settings), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        stores = open_stores(settings, "housing")
        past = stores.champion.history()
        loaded = stores.champion.load()
        assert loaded.card.version == str(history.champion(past))
        assert (
            settings.model_of("housing").read_bytes()
            == (
                settings.data_dir / "models" / "housing" / f"{loaded.card.version}.joblib"
            ).read_bytes()
        )
        lengths.append(len(past))
    assert lengths[-1] > lengths[0]


@pytest.mark.slow
def test_what_a_crash_left_of_a_release_does_not_stop_the_next_run(settings: Settings) -> None:
    stores = open_stores(settings, "housing")
    orphan = stores.champion.load().named(history.next_minor(stores.champion.history(), []))
    stores.artifacts.save(orphan)
    result = retrain(settings, "--data", sales(settings.data_dir, change=1.6))
    assert result.returncode == PROMOTED, result.stderr
    assert champion(settings) == "v1.2.0"
    assert retrain(settings, "--rollback", "v1.1.0").returncode == FAILED


def test_help_shows_examples_and_exit_codes() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "retrain.py"), "--help"], capture_output=True, text=True
    )
    assert "python retrain.py --data sales.csv --every 24h" in result.stdout
    assert "10 the champion was kept" in result.stdout
