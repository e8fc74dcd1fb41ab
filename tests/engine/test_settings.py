"""Settings are honoured, and a wrong one is a single line that names it."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import app.__main__
from cli.server import ROOT, free_port, serving, stop, wait_until_live
from engine.domain.errors import InvalidSetting
from engine.settings import Settings, load_settings
from tests.conftest import HOUSE, running
from tests.scripts import run_here


def test_a_wrong_setting_ends_the_process_with_one_line_that_names_it(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "API_PORT": "http"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (2, f"error: API_PORT: {NOT_A_NUMBER}\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "70000"),
        ("API_WORKERS", "0"),
        ("MAX_BATCH_SIZE", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("ADMIN_API_KEY", "short"),
        ("REGISTRY_URL", "nonsense"),
        ("CORS_ORIGINS", "https://a.example"),
        ("MODEL_POLL_SECONDS", "0"),
        ("LOG_FILE", "/dev/null/service.log"),
        ("DEFAULT_THRESHOLD", "1.1"),
        ("MODEL_DIR", "models"),  # beside MODEL_PATH
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, name: str, value: str) -> None:
    environment = {"MODEL_PATH": "a.joblib", name: value}
    result = run_here(app.__main__.main, environment=environment, folder=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {name}: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_wrong_setting_stops_uvicorn_with_the_same_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app.main:app"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "API_PORT": "http"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].endswith("InvalidSetting: API_PORT: " + NOT_A_NUMBER)


NOT_A_NUMBER = "Input should be a valid integer, unable to parse string as an integer"


def test_a_line_of_dotenv_counts_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text('API_PORT=9001\nMAX_BATCH_SIZE=7\nCORS_ORIGINS=["*"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_PORT", "9002")
    settings = load_settings()
    assert (settings.api_port, settings.max_batch_size) == (9002, 7)
    assert settings.cors_origins == ["*"]


def test_a_wrong_line_of_dotenv_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("API_WORKERS=many\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting, match=r"^API_WORKERS: Input should be a valid integer"):
        load_settings()


DOCUMENTED = """
API_HOST=0.0.0.0
API_WORKERS=4
MODEL_DIR=models
DEFAULT_MODEL=xgboost_20240101_120000.pkl
DEFAULT_THRESHOLD=0.5
ENABLE_CACHING=true
LOG_FILE=logs/api.log
"""
MISTAKEN = """
max_bach_size=100
FRUIT=apples
COMPOSE_PROJECT_NAME=predictive
BUILD_NETWORK=host
INCOMING=./incoming
"""


def script(folder: Path, **environment: str) -> list[str]:
    """What a script that has nothing to do complains of, by lines."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    result = subprocess.run(
        [sys.executable, "-m", "cli", "deployment", "show"],
        env={**plain, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr.splitlines()


def test_names_of_dotenv_that_nobody_reads_are_told_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(DOCUMENTED + MISTAKEN)
    model, cache, slip, unknown = script(tmp_path)
    assert model.startswith("warning: .env: DEFAULT_MODEL has no effect: the champion answers")
    assert cache.startswith("warning: .env: ENABLE_CACHING has no effect: there is no cache")
    assert slip == "warning: .env: MAX_BACH_SIZE is not a setting; did you mean MAX_BATCH_SIZE?"
    assert unknown == "warning: .env: FRUIT is not a setting"


def test_names_of_the_environment_are_told_where_they_are_nearly_ours(tmp_path: Path) -> None:
    others = {"LOG_PATH": "x", "SERVER": "x", "DATA_DIRECTORY": "x", "UV_LOG_LEVEL": "x"}
    slip, config = script(tmp_path, ADMIN_APIKEY="x", CHURN_MLOPS_CONFIG="x", **others)
    assert (
        slip == "warning: environment: ADMIN_APIKEY is not a setting; did you mean ADMIN_API_KEY?"
    )
    assert config.startswith("warning: environment: CHURN_MLOPS_CONFIG has no effect: ")


def test_what_docker_compose_reads_is_no_mistake(tmp_path: Path) -> None:
    names = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    (tmp_path / ".env").write_text("".join(f"{name}=8000\n" for name in names))
    assert {"API_PORT", "INCOMING", "BUILD_NETWORK"} <= set(names)
    assert script(tmp_path) == []


def places_of(settings: Settings) -> dict[str, str]:
    return {"MODEL_PATH": str(settings.model_path), "DATA_DIR": str(settings.data_dir)}


def test_the_service_starts_and_logs_them(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ENABLE_CACHING=true\nMODEL_DIR=models\n")
    (tmp_path / "models").mkdir()
    settings.model_of("housing").rename(tmp_path / "models" / "housing_model.joblib")
    environment = {
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(settings.data_dir),
        "LOG_FILE": str(tmp_path / "service.log"),
    }
    with serving(environment, folder=tmp_path) as url:
        reply = httpx.post(f"{url}/predict", json=HOUSE)
        model = httpx.get(f"{url}/model/info").json()["model_path"]
    events = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines()]
    (ignored,) = (one for one in events if one["event"] == "setting_ignored")
    assert (reply.status_code, model) == (200, "models/housing_model.joblib")
    assert ignored["level"] == "warning"
    assert ignored["reason"].startswith(".env: ENABLE_CACHING has no effect")


def test_a_real_server_honours_its_settings(settings: Settings, tmp_path: Path) -> None:
    environment = {
        **places_of(settings),
        "MAX_BATCH_SIZE": "2",
        "LOG_LEVEL": "DEBUG",
        "LOG_FILE": str(tmp_path / "log" / "service.log"),
    }
    with serving(environment) as url:
        two = httpx.post(f"{url}/predict/batch", json={"houses": [HOUSE] * 2})
        three = httpx.post(f"{url}/predict/batch", json={"houses": [HOUSE] * 3})
    assert (two.status_code, three.status_code) == (200, 422)
    log = (tmp_path / "log" / "service.log").read_text()
    assert '"route": "/predict/batch"' in log
    assert '"event": "stopped"' in log


@contextmanager
def started(settings: Settings, folder: Path, **changes: str) -> Iterator[str]:
    """The base URL of a server whose standard output is in `out`, and standard error in `err`."""
    port = str(free_port())
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=ROOT,
            env={**os.environ, **places_of(settings), "API_PORT": port, **changes},
            stdout=out,
            stderr=err,
            text=True,
        )
        try:
            wait_until_live(f"http://127.0.0.1:{port}", process)
            yield f"http://localhost:{port}"
        finally:
            stop(process)


def test_the_start_tells_people_where_to_go_beside_the_log(
    settings: Settings, tmp_path: Path
) -> None:
    with started(settings, tmp_path) as url:
        pass
    events = [json.loads(line)["event"] for line in (tmp_path / "out").read_text().splitlines()]
    assert any(event.startswith("Uvicorn running on") for event in events)
    assert (tmp_path / "err").read_text() == f"Serving housing on {url} - try {url}/docs\n"


def test_several_workers_answer_and_count_together_and_the_start_tells_of_them(
    settings: Settings, tmp_path: Path
) -> None:
    with started(settings, tmp_path, API_WORKERS="2") as url:
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json=HOUSE).status_code == 200
        summaries = [httpx.get(f"{url}/metrics/summary").json() for _ in range(4)]
    assert [summary["predictions"]["total"] for summary in summaries] == [20] * 4
    events = [json.loads(line)["event"] for line in (tmp_path / "out").read_text().splitlines()]
    assert any(event.startswith("Uvicorn running on") for event in events)
    said = f"Starting 2 workers for housing on {url} - try {url}/docs\n"
    assert (tmp_path / "err").read_text() == said


def test_a_port_that_is_taken_is_not_said_to_be_served(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = subprocess.run(
            [sys.executable, "-m", "app"],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(tmp_path), "API_PORT": str(taken.getsockname()[1])},
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 3
    assert "address already in use" in result.stdout
    assert result.stderr == ""


@pytest.mark.anyio
@pytest.mark.parametrize(("logs_requests", "statuses"), [(False, [422]), (True, [200, 422])])
async def test_requests_that_are_answered_are_logged_where_that_is_wished_for(
    settings: Settings, logs_requests: bool, statuses: list[int]
) -> None:
    wished = settings.model_copy(update={"log_requests": logs_requests})
    async with running(wished) as client:
        await client.post("/predict", json=HOUSE)
        await client.post("/predict", json={})
    assert settings.log_file is not None
    lines = map(json.loads, settings.log_file.read_text().splitlines())
    logged = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in logged] == statuses
    assert {line["level"] for line in logged} == {"info"}
