"""Settings are honoured, and a wrong one is a single line that names it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine.domain.errors import InvalidSetting
from engine.settings import load_settings
from tests.conftest import HOUSE
from tests.servers import serving

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "http"),
        ("API_PORT", "70000"),
        ("API_WORKERS", "0"),
        ("MAX_BATCH_SIZE", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("ADMIN_API_KEY", "short"),
        ("REGISTRY_URL", "nonsense"),
        ("CORS_ORIGINS", "https://a.example"),
        ("MODEL_POLL_SECONDS", "0"),
        ("LOG_FILE", "/dev/null/service.log"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, name: str, value: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app"],
        env={**os.environ, "PYTHONPATH": str(ROOT), name: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
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


def test_a_real_server_honours_its_settings(home: Path, tmp_path: Path) -> None:
    environment = {
        "MODEL_PATH": str(home / "champion.joblib"),
        "DATA_DIR": str(home / "data"),
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


def test_several_workers_answer_and_count_together(home: Path) -> None:
    environment = {
        "MODEL_PATH": str(home / "champion.joblib"),
        "DATA_DIR": str(home / "data"),
        "API_WORKERS": "2",
    }
    with serving(environment) as url:
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json=HOUSE).status_code == 200
        summaries = [httpx.get(f"{url}/metrics/summary").json() for _ in range(4)]
    assert [summary["predictions"]["total"] for summary in summaries] == [20] * 4
