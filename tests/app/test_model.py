"""Which version answers, and how another one takes its place while the service goes on."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from engine.assemble import export, open_stores
from engine.domain.artifact import Artifact
from engine.domain.version import Version
from engine.settings import Settings
from engine.stores.registry import SqlRegistry
from tests.conftest import HOUSE, empty_settings, running

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
WANTED = {"model_version": "v1.1.0-rc.1"}


async def test_model_info_tells_what_answers(client: httpx.AsyncClient) -> None:
    info = (await client.get("/model/info")).json()
    assert info["model_version"] == "v1.0.0"
    assert info["model_type"] == "HistGradientBoosting"
    assert info["versions"] == ["v1.0.0", "v1.1.0-rc.1"]
    assert info["num_features"] == 5
    assert info["metrics"]["test"]["coverage_90"] > 0.8
    assert (await client.get("/model-info")).json() == info


async def test_without_a_model_it_lives_and_recovers_when_one_appears(
    tmp_path: Path, artifacts: list[Artifact]
) -> None:
    settings = empty_settings(tmp_path)
    async with running(settings) as client:
        waiting = await client.post("/predict", json=HOUSE)
        assert (await client.get("/live")).status_code == 200
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).json()["status"] == "degraded"
        assert waiting.status_code == 503
        assert waiting.headers["retry-after"] == "2"
        assert "does not exist" in waiting.json()["detail"]
        export(settings, artifacts[0], settings.model_of("housing"))
        await until(client, "/ready", status="ready")
        assert (await client.post("/predict", json=HOUSE)).status_code == 200


async def test_a_new_champion_is_followed_without_a_restart(
    settings: Settings,
) -> None:
    async with running(settings) as client:
        move(settings, "v1.1.0-rc.1")
        await until(client, "/health", model_version="v1.1.0-rc.1")
        answer = (await client.post("/predict", json=HOUSE)).json()
        assert answer["model_version"] == "v1.1.0-rc.1"


async def test_a_broken_champion_is_refused_and_the_old_one_goes_on(settings: Settings) -> None:
    async with running(settings) as client:
        data = bytearray(settings.model_of("housing").read_bytes())
        data[1_000] ^= 1
        settings.model_of("housing").write_bytes(data)
        await until(client, "/health", status="degraded")
        assert "altered" in (await client.get("/model/info")).json()["refused"]
        assert (await client.get("/ready")).status_code == 200
        assert (await client.post("/predict", json=HOUSE)).json()["model_version"] == "v1.0.0"


async def test_a_refusal_names_the_ways_out(settings: Settings) -> None:
    """To put a registered champion back it is enough to remove the file that was altered."""
    settings.model_of("housing").write_bytes(settings.model_of("housing").read_bytes()[:-1] + b"x")
    async with running(settings) as client:
        refused = (await client.get("/ready")).json()["detail"]
        assert "remove it; then v1.0.0, which is registered, takes its place" in refused
        assert "python train_model.py --problem housing trains another one" in refused
        settings.model_of("housing").unlink()
        await until(client, "/ready", model_version="v1.0.0")


async def test_a_model_in_the_working_directory_answers_until_the_data_folder_has_its_own(
    tmp_path: Path, artifacts: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a checkout's model does in its image, with the keys of whoever trained it."""
    monkeypatch.chdir(tmp_path)
    export(here(Path("data")), artifacts[0], Path("housing_model.joblib"))
    elsewhere = here(tmp_path / "elsewhere")
    async with running(elsewhere) as client:
        assert (await client.get("/ready")).json()["model_version"] == "v1.0.0"
        assert open_stores(elsewhere, "housing").champion.history() == []
        export(here(Path("data")), artifacts[1], Path("housing_model.joblib"))
        await until(client, "/ready", model_version="v1.1.0-rc.1")
        open_stores(elsewhere, "housing").champion.adopt("tests")
        export(here(Path("data")), artifacts[0], Path("housing_model.joblib"))
        await until(client, "/ready", model=str(elsewhere.data_dir / "housing_model.joblib"))
        assert (await client.get("/ready")).json()["model_version"] == "v1.1.0-rc.1"
    shutil.rmtree("data")
    assert open_stores(elsewhere, "housing").champion.load().card.version == "v1.1.0-rc.1"


def here(data_dir: Path) -> Settings:
    """Nothing is set but the data folder."""
    return Settings(_env_file=None, data_dir=data_dir, model_poll_seconds=0.02)


def move(settings: Settings, version: str) -> None:
    """What another process does when it changes the champion."""
    champion = open_stores(settings, "housing").champion
    after = len(champion.history())
    champion.move("promoted", Version.parse(version), who="tests", why="a test", after=after)


async def until(client: httpx.AsyncClient, path: str, **expected: object) -> None:
    """Ask until the answer holds what is expected; a test that waits in vain fails here."""
    for _ in range(1_000):
        answer = (await client.get(path)).json()
        if expected.items() <= answer.items():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} still says {answer}")


async def test_an_artifact_that_cannot_answer_is_refused_and_the_next_good_one_is_taken(
    settings: Settings, artifacts: list[Artifact]
) -> None:
    """Intact but wrong inside: the watch over the champion must outlive it."""
    mute = replace(artifacts[0], graph=artifacts[0].graph.replace(b"rows", b"rowz"))
    async with running(settings) as client:
        export(settings, mute, settings.model_of("housing"))
        await until(client, "/health", status="degraded")
        assert (await client.post("/predict", json=HOUSE)).status_code == 200
        move(settings, "v1.1.0-rc.1")
        await until(client, "/health", status="healthy", model_version="v1.1.0-rc.1")


async def test_a_stray_file_among_the_versions_is_passed_over(settings: Settings) -> None:
    (settings.data_dir / "models" / "housing" / "vfoo.joblib").write_bytes(b"")
    async with running(settings) as client:
        info = await client.get("/model/info")
        assert info.json()["versions"] == ["v1.0.0", "v1.1.0-rc.1"]


@pytest.mark.parametrize("offered", [None, "wrong", "x" * 24])
async def test_only_who_holds_the_admin_key_may_change_the_model(
    settings: Settings, offered: str | None
) -> None:
    key = None if offered is None else SecretStr("right" * 5)
    headers = {} if offered is None else {"X-API-Key": offered}
    async with running(settings.model_copy(update={"admin_api_key": key})) as client:
        reply = await client.post("/model/load", json=WANTED, headers=headers)
        assert reply.status_code == 403
        assert (await client.get("/model/info")).json()["model_version"] == "v1.0.0"


async def test_the_admin_makes_a_registered_version_champion(settings: Settings) -> None:
    key = "right" * 5
    admin = settings.model_copy(update={"admin_api_key": SecretStr(key)})
    headers = {"X-API-Key": key}
    async with running(admin) as client:
        reply = await client.post("/model/load", json=WANTED, headers=headers)
        info = (await client.get("/model/info")).json()
        lost = await client.post("/load-model", json={"model_version": "v7.0.0"}, headers=headers)
        path = await client.post("/model/load", json={"model_path": "/etc/passwd"}, headers=headers)
        garbage = await client.post("/model/load", content=b"{", headers={**headers, **JSON})
        huge = await client.post("/model/load", content=b" " * 99_999, headers={**headers, **JSON})
    assert (reply.status_code, reply.json()["status"]) == (200, "success")
    assert info["model_version"] == "v1.1.0-rc.1"
    assert [event["action"] for event in info["history"]] == ["trained", "loaded"]
    assert info["champion_since"] == info["history"][-1]["at"]
    statuses = [lost.status_code, path.status_code, garbage.status_code, huge.status_code]
    assert statuses == [404, 404, 400, 413]


async def test_a_registry_that_fails_is_told_and_the_model_goes_on(settings: Settings) -> None:
    async with running(settings) as client:
        good = (settings.data_dir / "registry.db").read_bytes()
        (settings.data_dir / "registry.db").write_bytes(b"?" * len(good))
        await until(client, "/health", status="degraded")
        assert (await client.post("/predict", json=HOUSE)).status_code == 200
        (settings.data_dir / "registry.db").write_bytes(good)
        await until(client, "/health", status="healthy")


async def test_a_champion_file_that_is_lost_comes_back_from_the_registry(
    settings: Settings,
) -> None:
    async with running(settings) as client:
        settings.model_of("housing").unlink()
        for _ in range(200):
            if settings.model_of("housing").exists():
                break
            await asyncio.sleep(0.02)
        assert settings.model_of("housing").exists()
        assert (await client.get("/health")).json()["status"] == "healthy"


async def test_a_release_that_was_never_earned_is_not_served(
    settings: Settings, artifacts: list[Artifact]
) -> None:
    """What a crash leaves between the file of a release and its event."""
    left = artifacts[0].named(Version.parse("v1.1.0"))
    open_stores(settings, "housing").artifacts.save(left)
    async with running(settings) as client:
        reply = await client.post("/predict?model_version=v1.1.0", json=HOUSE)
        versions = (await client.get("/model/info")).json()["versions"]
    assert reply.status_code == 404
    assert versions == ["v1.0.0", "v1.1.0-rc.1"]


async def test_with_a_registry_that_is_down_from_the_start_the_file_is_served(
    settings: Settings,
) -> None:
    (settings.data_dir / "registry.db").write_bytes(b"?" * 9_999)
    async with running(settings) as client:
        assert (await client.post("/predict", json=HOUSE)).status_code == 200
        assert "registry cannot be used" in (await client.get("/health")).json()["reason"]


async def test_a_version_under_another_name_is_refused(settings: Settings) -> None:
    folder = settings.data_dir / "models" / "housing"
    (folder / "v5.0.0-rc.1.joblib").write_bytes((folder / "v1.0.0.joblib").read_bytes())
    async with running(settings) as client:
        reply = await client.post("/predict?model_version=v5.0.0-rc.1", json=HOUSE)
    assert reply.status_code == 500
    assert "contains v1.0.0" in reply.json()["detail"]


async def test_an_unforeseen_failure_of_the_watch_is_told_and_survived(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings) as client:
        with monkeypatch.context() as broken:
            broken.setattr(SqlRegistry, "length", lambda *_: 1 // 0)
            await until(client, "/health", status="degraded")
            assert "ZeroDivisionError" in (await client.get("/health")).json()["reason"]
            assert (await client.post("/predict", json=HOUSE)).status_code == 200
        await until(client, "/health", status="healthy")
