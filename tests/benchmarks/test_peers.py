"""The comparison with peers, in its quick form over two servers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.cases import CASES, ONE_OF_MANY
from benchmarks.peers.load import Run
from benchmarks.peers.results import Results, Sample
from cli.server import ROOT


@pytest.mark.load
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_every_case_has_a_line_for_each_server_with_ratios_to_a(tmp_path: Path) -> None:
    found = run("--quick", "--only", "ours-buffered,A", "--out", tmp_path, "--cache", tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    document = json.loads((tmp_path / "peers.json").read_text())
    assert [case["name"] for case in document["cases"]] == [case.name for case in CASES]
    for case in document["cases"]:
        lines = {line["server"]: line for line in case["servers"]}
        assert set(lines) == {"ours-buffered", "A"}
        assert lines["A"]["ratio_to_a"] == 1
        assert all(0 < line["p50_ms"] <= line["p99_ms"] for line in lines.values())
    assert all(one["memory_mb"] > 10 for one in document["starts"].values())
    assert "| **ours-buffered** |" in (tmp_path / "peers.md").read_text()
    assert (tmp_path / "peers.png").stat().st_size > 10_000


def test_an_unknown_server_is_refused_with_the_names_of_all() -> None:
    found = run("--only", "ours-durable,nobody")
    assert found.returncode == 2
    assert "unknown: nobody; there are ours-durable" in found.stderr


def test_a_ratio_is_paired_by_round_so_a_slow_round_cancels_out() -> None:
    speeds = {"A": (1_000, 100, 500), "ours-durable": (1_000, 300, 1_500)}
    results = Results([sample(n, s, v) for s, of in speeds.items() for n, v in enumerate(of)])
    line = results.line("ours-durable", ONE_OF_MANY)
    assert line is not None
    assert line.ratio_to_a == 3
    assert (line.lowest, line.highest) == (300, 1_500)


def sample(number: int, server: str, speed: float) -> Sample:
    run = Run(requests=10, requests_per_second=speed, p50_ms=1.0, p99_ms=2.0, wrk_cores=0.1)
    return Sample(number, server, ONE_OF_MANY, run, cpu_seconds=0.1, probe_ms=5.0)


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
