"""Folders with a registered model of a problem, trained once for all test processes of a run."""

import fcntl
import os
from pathlib import Path

import pytest

from engine.assemble import open_stores
from engine.domain.artifact import Artifact
from engine.domain.problem import Problem
from engine.domain.version import FIRST
from engine.learning.data import check
from engine.learning.estimators import candidates
from engine.learning.split import split
from engine.learning.train import Origin, train
from engine.settings import Settings

ROWS, SEED = 2_000, 1


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a run share, and no other run does."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def home_with(problems: list[Problem], run: Path, folder: Path) -> Path:
    """`folder` with a champion v1.0.0 of each problem, in DATA_DIR and at MODEL_PATH.

    `run` is a folder that all processes of the run share.
    """
    for problem in problems:
        _register(problem, _trained(problem, run), folder)
    return folder


def settings_of(folder: Path, *names: str, **changes: object) -> Settings:
    """Serve these problems from a folder; the first of them at the root."""
    values = {
        "serve": names,
        "model_path": folder / "{problem}_model.joblib",
        "data_dir": folder / "data",
        "log_file": folder / "log" / "service.log",
        "model_poll_seconds": 0.02,
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def _trained(problem: Problem, run: Path) -> Artifact:
    home = run / f"trained-{problem.name}"
    with (run / f"{problem.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            draft = run / f"draft-{problem.name}"
            _register(problem, _train(problem), draft)
            draft.rename(home)
    return open_stores(settings_of(home, problem.name), problem.name).champion.load()


def _train(problem: Problem) -> Artifact:
    assert problem.simulate is not None
    table = check(problem, problem.simulate(ROWS, SEED), "simulated")[0]
    origin = Origin(FIRST, "2026-01-01T00:00:00.000Z", SEED)
    candidate = candidates(problem.target.kind)[0]
    return train(
        problem, table, split(table, SEED), candidate, origin=origin, tell=lambda step: None
    )


def _register(problem: Problem, artifact: Artifact, folder: Path) -> None:
    stores = open_stores(settings_of(folder, problem.name), problem.name)
    stores.artifacts.save(artifact)
    stores.champion.move("trained", FIRST, who="tests", why="the first", after=0)
