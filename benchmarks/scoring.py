"""Whole tables through the champion of `housing`: rows a second, beside the bare evaluator.

`make bench-scoring` simulates the rows, scores them with `python -m cli score` on all cores, and
then asks the same model about ready matrices in as many processes. It prints the two rates, their
ratio (and that of the processors' time, which says more on a busy machine), and the largest memory
of all processes together (PSS: what several share counts once). Exit code 1 when the ratio is below
ENOUGH or the memory above MOST_MEMORY.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Taken:
    """Seconds from start to end, and of processors."""

    wall: float
    processors: float

    def told(self, rows: int) -> str:
        return f"{rows / self.wall:,.0f} rows/s, {rows / self.processors:,.0f} a processor's second"


def seconds_to_score(table: Path, out: Path, jobs: int) -> tuple[Taken, int]:
    """What it takes from start to end, and the largest memory of all processes together."""
    command = [sys.executable, "-m", "cli", "score", str(table), str(out), "--jobs", str(jobs)]
    before, start, peak = processor_seconds(), time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, sum(map(memory_of, family(process.pid))))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        sys.exit(process.returncode)
    return Taken(time.perf_counter() - start, processor_seconds() - before), peak


def processor_seconds() -> float:
    """Of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def bare(table: Path, jobs: int) -> tuple[Taken, int]:
    """`Model.predict` on ready matrices, in so many processes at once, and how many rows."""
    columns = next(pq.ParquetFile(table).iter_batches(BARE_ROWS))
    matrix = np.column_stack([columns[name].to_numpy() for name in HOUSING.schema.names])
    shares = [matrix[start::jobs] for start in range(jobs)]
    with get_context("spawn").Pool(jobs) as pool:
        spans = pool.map(ask, shares, chunksize=1)
    starts, ends, processors = zip(*spans, strict=True)
    return Taken(max(ends) - min(starts), sum(processors)), len(matrix)


def ask(rows: Matrix) -> tuple[float, float, float]:
    """When it began and when it ended, without what loading takes; what the processor took."""
    model = Model.of(open_stores(load_settings(), HOUSING.name).champion.load())
    model.predict(rows[:ASKED_AT_ONCE], DEFAULT_CONFIDENCE)
    start, used = time.time(), time.process_time()
    for first in range(0, len(rows), ASKED_AT_ONCE):
        model.predict(rows[first : first + ASKED_AT_ONCE], DEFAULT_CONFIDENCE)
    return start, time.time(), time.process_time() - used


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scoring-") as name:
        table = Path(name) / "rows.parquet"
        write(asked.rows, table)
        took, peak = seconds_to_score(table, Path(name) / "out.parquet", asked.jobs)
        alone, rows = bare(table, asked.jobs)
    ratio = (asked.rows / took.wall) / (rows / alone.wall)
    of_processors = (asked.rows / took.processors) / (rows / alone.processors)
    print(f"scored     {asked.rows:,} rows in {took.wall:,.1f} s: {took.told(asked.rows)}")
    print(f"evaluator  {alone.told(rows)}")
    print(f"ratio      {ratio:.2f} (at least {ENOUGH:g}), of processors' time {of_processors:.2f}")
    print(f"memory     {peak / 2**20:,.0f} MiB at most (of {MOST_MEMORY / 2**20:,.0f})")
    return 0 if ratio >= ENOUGH and peak <= MOST_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
