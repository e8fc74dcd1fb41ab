"""The comparison with peers, in its quick form over two servers."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.cases import CASES, ONE_OF_MANY
from benchmarks.peers.load import Run, ask
from benchmarks.peers.results import Results, Sample
from cli.server import serving


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_every_case_has_a_line_for_each_server_with_ratios_to_a(tmp_path: Path) -> None:
    words = f"--quick --only ours-buffered,A --out {tmp_path} --cache {tmp_path}"
    assert main(words.split()) == 0
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


def test_an_unknown_server_is_refused_with_the_names_of_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "ours-durable,nobody"])
    assert "unknown: nobody; there are ours-durable" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_reply_that_is_not_200_ends_the_run(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"square_feet": "many"}\n')
    with (
        serving({"DATA_DIR": str(tmp_path), "RECORDS": "off"}) as url,
        pytest.raises(RuntimeError, match="did not answer every request"),
    ):
        ask(f"{url}/predict", bodies, first=0, connections=1, seconds=1, core=None)


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
