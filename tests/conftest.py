"""Real models, small enough to train for every run; a client that speaks HTTP to a real app."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from cli.server import ROOT
from engine.assemble import open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.effort import FAST
from engine.domain.ports import Records
from engine.domain.version import Version
from engine.learning.estimators import CANDIDATES
from engine.learning.train import Origin, train
from engine.settings import Settings
from engine.tables.split import split
from engine.tables.table import Table, check
from engine.watching.controller import RolloutController
from problems.housing import HOUSING, simulate
from tests.callers import Callers
from tests.trained import folder_of_run, made_once

HOUSE = HOUSING.contracts[0].examples["documented"]
KING_COUNTY = ROOT.parent / "shared" / "data" / "kc_house_data.csv"
VERSIONS = ("v1.0.0", "v1.1.0-rc.1")
PATIENT_SECONDS = 60

needs_king_county = pytest.mark.skipif(
    not KING_COUNTY.exists(), reason="the King County table is not beside this checkout"
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _collector_looks_at_nothing_when_an_app_starts() -> Iterator[None]:
    """It takes longer than most tests: this process holds all libraries of training, and hundreds
    of apps start in it, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.main._left_alone_by_the_collector", nullcontext)
        yield


def market(rows: int, seed: int) -> Table:
    return check(HOUSING, simulate(rows, seed), "simulated")[0]


@pytest.fixture(scope="session")
def table() -> Table:
    return market(2_500, seed=1)


@pytest.fixture(scope="session")
def artifacts(table: Table, tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Both candidates, as v1.0.0 and v1.1.0-rc.1."""
    return made_once(folder_of_run(tmp_path_factory), "candidates", lambda: trained_on(table))


def trained_on(table: Table) -> list[Artifact]:
    return [
        train(
            HOUSING,
            table,
            split(table, seed=1),
            candidate=candidate,
            origin=Origin(Version.parse(version), "2026-01-01T00:00:00Z", seed=1),
            tell=lambda step: None,
        )
        for candidate, version in zip(CANDIDATES[FAST], VERSIONS, strict=True)
    ]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, artifacts: list[Artifact]) -> Path:
    """A folder with two registered versions, the first of them champion; tests copy it."""
    home = tmp_path_factory.mktemp("home")
    settings = empty_settings(home)
    stores = open_stores(settings, HOUSING.name)
    for artifact in artifacts:
        stores.artifacts.save(artifact)
    first = Version.parse(VERSIONS[0])
    stores.champion.move("trained", first, who="tests", why="the first", after=0)
    return home


@pytest.fixture
def settings(tmp_path: Path, home: Path) -> Settings:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    return empty_settings(tmp_path)


def empty_settings(folder: Path, **changes: Any) -> Settings:
    values = {
        "model_path": folder / "champion.joblib",
        "data_dir": folder / "data",
        "log_file": folder / "log" / "service.log",
        "model_poll_seconds": 0.02,
        **changes,
    }
    return Settings(_env_file=None, **values)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app with its lifespan, asked in this process."""
    app = create_app(settings)
    async with app.router.lifespan_context(app) as state:
        assert state is not None

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for records to be written gives up later than any machine is slow."""
    monkeypatch.setattr("engine.stores.records.BUSY_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr("engine.serving.recorder.PATIENCE_SECONDS", PATIENT_SECONDS)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        yield client


@pytest.fixture
def records(settings: Settings) -> Iterator[Records]:
    with closing(open_records(settings)) as opened:
        yield opened


@pytest.fixture
def controller(settings: Settings) -> RolloutController:
    stores = open_stores(settings, "housing")
    return RolloutController(HOUSING, stores.champion, stores.artifacts, "tests")


@pytest.fixture
def callers(controller: RolloutController, records: Records, artifacts: list[Artifact]) -> Callers:
    return Callers(controller, records, artifacts)
