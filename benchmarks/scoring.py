"""Whole tables through the champion of `housing`: rows a second, beside the bare evaluator.

`make bench-scoring` simulates the rows, scores them with `python -m cli score` on all cores, and
then asks the same model about ready matrices in as many processes. It prints the two rates, their
ratio, and the largest memory of all processes together (PSS: what several share counts once).
Exit code 1 when the ratio is below ENOUGH or the memory above MOST_MEMORY.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cli.server import ROOT
from engine.assemble import open_stores
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.schema import Matrix
from engine.model.model import Model
from engine.settings import load_settings
from problems.housing import HOUSING, simulate

ROWS = 10_000_000
AT_ONCE = 500_000
"""Rows that are simulated at once, and that make a row group."""
ASKED_AT_ONCE = 10_000
ENOUGH, MOST_MEMORY = 0.7, 2**30
BARE_ROWS = 1_000_000
"""The bare evaluator is asked about at most so many."""
LOOK_SECONDS = 0.25


def write(rows: int, path: Path) -> None:
    writer = None
    for first in range(0, rows, AT_ONCE):
        columns = simulate(min(AT_ONCE, rows - first), seed=first)
        table = pa.table({name: columns[name] for name in HOUSING.schema.names})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def seconds_to_score(table: Path, out: Path, jobs: int) -> tuple[float, int]:
    """The time from start to end, and the largest memory of all processes together."""
    command = [sys.executable, "-m", "cli", "score", str(table), str(out), "--jobs", str(jobs)]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, sum(map(memory_of, family(process.pid))))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, peak


def family(pid: int) -> list[int]:
    """A process with all that it started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *(one for child in text.split() for one in family(int(child)))]


def memory_of(pid: int) -> int:
    """PSS in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def bare_rate(table: Path, jobs: int) -> float:
    """Rows a second of `Model.predict` on ready matrices, in so many processes at once."""
    columns = next(pq.ParquetFile(table).iter_batches(BARE_ROWS))
    matrix = np.column_stack([columns[name].to_numpy() for name in HOUSING.schema.names])
    shares = [matrix[start::jobs] for start in range(jobs)]
    with get_context("spawn").Pool(jobs) as pool:
        spans = pool.map(ask, shares, chunksize=1)
    return len(matrix) / (max(end for _, end in spans) - min(start for start, _ in spans))


def ask(rows: Matrix) -> tuple[float, float]:
    """When it began and when it ended, without what loading takes."""
    model = Model.of(open_stores(load_settings(), HOUSING.name).champion.load())
    model.predict(rows[:ASKED_AT_ONCE], DEFAULT_CONFIDENCE)
    start = time.time()
    for first in range(0, len(rows), ASKED_AT_ONCE):
        model.predict(rows[first : first + ASKED_AT_ONCE], DEFAULT_CONFIDENCE)
    return start, time.time()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scoring-") as name:
        table = Path(name) / "rows.parquet"
        write(asked.rows, table)
        before = bare_rate(table, asked.jobs)
        took, peak = seconds_to_score(table, Path(name) / "out.parquet", asked.jobs)
        after = bare_rate(table, asked.jobs)
    bare, rate = (before + after) / 2, asked.rows / took
    print(f"scored     {asked.rows:,} rows in {took:,.1f} s, {rate:,.0f} rows/s")
    print(f"evaluator  {bare:,.0f} rows/s alone ({before:,.0f} before, {after:,.0f} after)")
    print(f"ratio      {rate / bare:.2f} (at least {ENOUGH:g})")
    print(f"memory     {peak / 2**20:,.0f} MiB at most (of {MOST_MEMORY / 2**20:,.0f})")
    return 0 if rate / bare >= ENOUGH and peak <= MOST_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
