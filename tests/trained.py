"""Models that are trained once for all test processes of a run, and folders that hold them."""

import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import joblib
import pytest

from engine.assemble import open_stores
from engine.domain.artifact import Artifact
from engine.domain.effort import FAST
from engine.domain.problem import Problem
from engine.domain.version import FIRST
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.settings import Settings
from engine.tables.split import split
from engine.tables.table import check

ROWS, SEED = 2_000, 1


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a run share, and no other run does."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


Made = TypeVar("Made")


def made_once(run: Path, name: str, make: Callable[[], Made]) -> Made:
    """A copy of what `make` gives to the first process of a run that asks for it.

    `run` is a folder that all processes of the run share.
    """
    file, draft = run / f"{name}.joblib", run / f"{name}.draft"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            joblib.dump(make(), draft)
            draft.rename(file)
    made: Made = joblib.load(file)
    return made


def home_with(problems: list[Problem], run: Path, folder: Path) -> Path:
    """`folder` with a champion v1.0.0 of each problem, in DATA_DIR and at MODEL_PATH."""
    for problem in problems:
        artifact = made_once(run, f"trained-{problem.name}", partial(_train, problem))
        _register(problem, artifact, folder)
    return folder


def settings_of(folder: Path, *names: str, **changes: Any) -> Settings:
    """Serve these problems from a folder; the first of them at the root."""
    values = {
        "serve": names,
        "model_path": folder / "{problem}_model.joblib",
        "data_dir": folder / "data",
        "log_file": folder / "log" / "service.log",
        "model_poll_seconds": 0.02,
        **changes,
    }
    return Settings(_env_file=None, **values)


def _train(problem: Problem) -> Artifact:
    assert problem.simulate is not None
    table = check(problem, problem.simulate(ROWS, SEED), "simulated")[0]
    origin = Origin(FIRST, "2026-01-01T00:00:00.000Z", SEED)
    candidate = LEARNERS[problem.target.kind].candidates[FAST][0]
    return train(
        problem,
        table,
        split(table, SEED),
        candidate=candidate,
        origin=origin,
        tell=lambda step: None,
    )


def _register(problem: Problem, artifact: Artifact, folder: Path) -> None:
    stores = open_stores(settings_of(folder, problem.name), problem.name)
    stores.artifacts.save(artifact)
    stores.champion.move("trained", FIRST, who="tests", why="the first", after=0)
