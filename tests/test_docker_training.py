"""What is trained on this machine answers in its containers, with no further step."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cli.server import ROOT
from problems.housing import simulate
from tests.conftest import HOUSE
from tests.containers import Stack, run, started

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of what git tracks here."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in run("git", "-C", str(ROOT), "ls-files").splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def train(checkout: Path, *arguments: str) -> None:
    """`python train_model.py`, as the first document says it, with nothing else set."""
    settings = ("DATA_DIR", "MODEL_PATH", "TRUSTED_KEYS", "SIGNING_KEY", "SERVE")
    env = {name: value for name, value in os.environ.items() if name not in settings}
    command = [sys.executable, "train_model.py", *arguments]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack(checkout: Path) -> Iterator[Stack]:
    """The second and the fifth step of the document: train, then up with a fresh volume."""
    train(checkout, "--rows", "1500", "--seed", "5")
    with started(checkout) as stack:
        yield stack


def test_a_model_that_was_trained_here_is_served_there(stack: Stack) -> None:
    info = stack.ask("/model/info")
    assert stack.ask("/ready")["status"] == "ready"
    assert (info["seed"], info["data"]["rows"]) == (5, 1500)
    assert stack.ask("/predict", HOUSE)["predicted_price"] > 0


def test_what_is_trained_later_is_served_by_the_next_up(stack: Stack, checkout: Path) -> None:
    """The volume is not fresh any more, and the second problem is a table of one's own."""
    sales = pd.DataFrame(simulate(400, 9)).rename(columns={"square_feet": "Living Area"})
    sales.to_csv(checkout / "flats.csv", index=False)
    train(checkout, "--rows", "1500", "--seed", "6")
    train(checkout, "--data", "flats.csv", "--target", "price", "--yes")
    up = (*stack.command, "up", "--build", "-d")
    run(*up, env={**stack.env, "SERVE": "housing,flats"})
    stack.wait_until_healthy()
    assert stack.ask("/ready")["problems"].keys() == {"housing", "flats"}
    assert stack.ask("/model/info")["seed"] == 6


def test_problems_without_a_model_are_trained_by_the_first_up(checkout: Path) -> None:
    with started(checkout, SERVE="churn,housing") as stack:
        problems = stack.ask("/ready")["problems"]
        user = {"user_id": "1", "features": {"active_days_7d": 3, "plan": "paid"}}
        assert problems.keys() == {"churn", "housing"}
        assert 0 < stack.ask("/predict", user)["churn_risk"] < 1


def test_a_model_of_a_stranger_is_refused_with_the_command_that_mends_it(
    checkout: Path, tmp_path: Path
) -> None:
    """Whoever changes the file in the repository, but not the keys of whoever builds it."""
    stranger = tmp_path / "stranger"
    shutil.copytree(checkout, stranger)
    train(stranger, "--rows", "1500")
    shutil.rmtree(stranger / "data")
    with started(stranger, is_healthy=False) as stack:
        reply = stack.reply("/ready")
        assert reply.status_code == 503
        assert "not among the trusted keys" in reply.json()["detail"]
        assert "docker compose run --rm --entrypoint python trainer" in reply.json()["detail"]
