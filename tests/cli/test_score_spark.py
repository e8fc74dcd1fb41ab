"""Scoring on Spark: the bits of the plain engine, and no row lost or doubled by a dead worker.

`make test-spark` installs pyspark; Java 17 or newer has to be there.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.score import score
from engine.settings import Settings
from problems.housing import simulate
from tests.replies import script
from tests.scripts import started

pyspark = pytest.importorskip("pyspark", reason="pyspark is missing: make test-spark installs it")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is missing"),
]
FILES, ROWS = 60, 2_000
SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
CONF = """
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.driver.memory 512m
spark.executor.memory 512m
spark.sql.files.maxPartitionBytes 10m
spark.sql.files.openCostInBytes 10m
"""
"""Each file is a task, so that there is a half-way."""


class Cluster:
    """A standalone master and two workers on loopback, one core each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"spark://127.0.0.1:{port}"
        self.master = self._start("Master", "--port", str(port))
        self.workers = [
            self._start(
                *("Worker", "--cores", "1", "--memory", "600m"),
                *("--work-dir", str(folder / f"worker-{number}"), self.url),
            )
            for number in range(2)
        ]

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "spark.log").open("ab")
        with log:
            return subprocess.Popen(
                [
                    *(str(SPARK_CLASS), f"org.apache.spark.deploy.{name.lower()}.{name}"),
                    *("--host", "127.0.0.1", "--webui-port", "0"),
                    *arguments,
                ],
                env={**os.environ, "PYSPARK_PYTHON": sys.executable},
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        for process in (*self.workers, self.master):
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(CONF)
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.stop()


def tables(folder: Path) -> Path:
    folder.mkdir()
    for number in range(FILES):
        frame = pd.DataFrame(simulate(ROWS, seed=number))
        frame = frame.assign(id=np.arange(ROWS) + number * ROWS)
        frame.loc[7, "square_feet"] = 1.0
        pq.write_table(pa.Table.from_pandas(frame), folder / f"{number:03}.parquet")
    return folder


def scored(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder).sort_values("id").reset_index(drop=True)


def test_a_worker_killed_half_way_changes_no_row(
    settings: Settings,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = tables(tmp_path / "in"), tmp_path / "out"
    environment = {
        "DATA_DIR": str(settings.data_dir),
        "MODEL_PATH": str(settings.model_path),
        "SPARK_CONF_DIR": str(tmp_path / "conf"),
        "PYSPARK_PYTHON": sys.executable,
    }
    process = subprocess.Popen(
        [*started("score"), str(source), str(out), "--engine", "spark", "--master", cluster.url],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len([*out.glob("_temporary/0/task_*")]) >= FILES // 3 or ended(process))
    assert len([*out.glob("_temporary/0/task_*")]) < FILES
    cluster.workers[0].kill()
    printed, complaint = process.communicate(timeout=400)
    assert process.returncode == 0, complaint
    assert f"{FILES * ROWS:,} rows by v1.0.0, {FILES} of them without a prediction" in printed
    plain = tmp_path / "plain"
    run = script(score, settings, monkeypatch, capsys)
    assert run(str(source), str(plain), "--jobs", "2")[0] == 0
    here, there = scored(plain), scored(out)
    assert there["id"].tolist() == list(range(FILES * ROWS))
    assert there["prediction_id"].nunique() == FILES * (ROWS - 1)
    without_ids = [name for name in here if name != "prediction_id"]
    pd.testing.assert_frame_equal(here[without_ids], there[without_ids], check_exact=True)


def ended(process: "subprocess.Popen[str]") -> bool:
    assert process.poll() is None, process.communicate()[1]
    return False


def wait_until(holds: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
