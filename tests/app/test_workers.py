"""Several workers of one server count together, whoever started them, and leave nothing behind."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.counting import shared_folder
from cli.server import serving, serving_process
from engine.settings import Settings
from tests.conftest import HOUSE

UVICORN = ("uvicorn", "app.main:app", "--workers", "3", "--port", "{port}")
GUNICORN = (
    *("gunicorn", "app.main:app", "--workers", "4", "--bind", "127.0.0.1:{port}"),
    *("--worker-class", "uvicorn.workers.UvicornWorker"),
)
ASKED, LOOKS, AT_ONCE = 60, 12, 8


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    own = {"MODEL_PATH": str(settings.model_path), "DATA_DIR": str(settings.data_dir)}
    return {**own, "TMPDIR": str(folder)}


def ask(url: str) -> list[Any]:
    """Predictions over as many connections at once as make every worker answer some, and then what
    each of some summaries says of them."""
    with ThreadPoolExecutor(AT_ONCE) as many:
        replies = list(many.map(lambda _: httpx.post(f"{url}/predict", json=HOUSE), range(ASKED)))
    assert {reply.status_code for reply in replies} == {200}
    summaries = [httpx.get(f"{url}/metrics/summary").json() for _ in range(LOOKS)]
    return [(s["predictions"]["total"], s["requests"]["by_route"]["/predict"]) for s in summaries]


@pytest.mark.load
@pytest.mark.parametrize("command", [UVICORN, GUNICORN], ids=["uvicorn", "gunicorn"])
def test_counters_are_those_of_all_workers_whichever_answers(
    settings: Settings, tmp_path: Path, command: tuple[str, ...]
) -> None:
    with serving(environment(settings, tmp_path), command) as url:
        assert ask(url) == [(ASKED, ASKED)] * LOOKS
    assert shared(tmp_path) == []


@pytest.mark.load
def test_gunicorns_access_log_has_a_line_for_each_request(
    settings: Settings, tmp_path: Path
) -> None:
    files = ("--access-logfile", f"{tmp_path}/access.log", "--error-logfile", f"{tmp_path}/errors")
    with serving(environment(settings, tmp_path), (*GUNICORN, *files)) as url:
        ask(url)
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert sum('"POST /predict HTTP/1.1" 200' in line for line in lines) == ASKED
    assert sum('"GET /metrics/summary HTTP/1.1" 200' in line for line in lines) == LOOKS


@pytest.mark.load
def test_what_a_killed_server_counted_is_not_counted_again(
    settings: Settings, tmp_path: Path
) -> None:
    changed = environment(settings, tmp_path)
    with serving_process(changed, UVICORN) as (url, process):
        ask(url)
        (left,) = shared(tmp_path)
        for pid in (process.pid, *children(process.pid)):
            os.kill(pid, signal.SIGKILL)
    with serving(changed, UVICORN) as url:
        assert ask(url) == [(ASKED, ASKED)] * LOOKS
        assert left not in shared(tmp_path)
    assert shared(tmp_path) == []


def test_counts_under_a_process_id_that_comes_again_are_forgotten(tmp_path: Path) -> None:
    left = tmp_path / "counts" / str(os.getppid()) / "counter_7.db"
    left.parent.mkdir(parents=True)
    left.touch()
    with shared_folder(tmp_path / "counts") as folder:
        assert folder == left.parent
        assert not left.exists()


def test_counts_stay_as_long_as_one_worker_lives(tmp_path: Path) -> None:
    with shared_folder(tmp_path / "counts") as folder:
        with shared_folder(tmp_path / "counts") as same:
            (same / "counter_7.db").touch()
        assert (folder / "counter_7.db").exists()
    assert not folder.exists()


def shared(folder: Path) -> list[Path]:
    """The folders in which workers count."""
    return sorted(folder.glob("predictive-*/*/"))


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
