"""What each thing costs as the records grow: insert, label, forget, report, retraining's read.

`make bench-growth` prints a table and ends with exit code 1 when something costs more than FLAT
times as much as at the smallest size (the read: a row). Rows are those the service writes, in
SQLite files in a temporary folder: 10 GB for the largest size, and about 20 minutes. There are
three files of each size. In the first, every other prediction has an outcome; in the second only a
thousand do; in the third only the oldest.

The median of several rounds counts. Rounds alternate between the sizes, because the speed of a
machine drifts.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from engine.domain.record import CHAMPION, Outcome, Record, RecordBlock
from engine.domain.retention import STEP_ROWS
from engine.domain.times import written
from engine.domain.traffic import CANARY, SLOTS, Traffic, Variant
from engine.domain.version import Version
from engine.stores.records import MOST_ROWS, SqlRecords
from engine.tables.recorded import recorded
from engine.watching.comparison import report
from engine.watching.recent import recent_records
from problems.housing import HOUSING

SIZES = [100_000, 1_000_000, 5_000_000]
FLAT = 1.5
OFTEN, SELDOM = 21, 5
"""Rounds of what takes milliseconds, and of what takes seconds."""
GROUP = 100
START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = Version.parse("v1.0.0"), Version.parse("v1.1.0-rc.1")
HALF = Traffic((Variant(NEW, CANARY, ((0, SLOTS // 2),)),))
SCATTER = 0x9E3779B97F4A7C15F39D
"""Stands for chance in the ids: odd, so that no two numbers have the same one."""
KNOWN: dict[str, Callable[[int], Sequence[int]]] = {
    "half": lambda n: range(0, n, 2),
    "few": lambda n: range(0, n, n // 1_000),
    "old": lambda n: range(min(n, 5_000)),
}
"""Which rows of n have an outcome."""
READ = "read a row"
Stores = dict[tuple[str, int], SqlRecords]
"""By which rows have an outcome, and how many rows there are."""
Acts = dict[str, Callable[[], object]]
Figures = dict[str, dict[int, float]]
"""Seconds, by what was done and the number of rows."""


def record(number: int) -> Record:
    """The answer of one second to one house."""
    version, variant = ((OLD, CHAMPION), (NEW, CANARY))[number // 2 % 2]
    value = 300_000.0 + 100 * (number % 977)
    return Record(
        id=id_of(number),
        at=written(at(number)),
        problem=HOUSING.name,
        version=str(version),
        variant=variant,
        row={**HOUSING.schema.example, "square_feet": 500.0 + number % 5_000},
        value=value,
        lower=0.8 * value,
        upper=1.2 * value,
        level=0.9,
        request_id=f"{number * SCATTER % 2**128:032x}",
        caller="127.0.0.1",
        latency_us=30.0 + number % 7,
    )


def blocks(numbers: Sequence[int]) -> list[RecordBlock]:
    """As the service writes single requests."""
    return [RecordBlock.of(record(number)) for number in numbers]


def at(number: int) -> datetime:
    return START + timedelta(seconds=number)


def id_of(number: int) -> str:
    """As `app.routes.predict` makes them."""
    return f"{int(at(number).timestamp() * 1_000):012x}{number * SCATTER % 2**80:020x}-0"


def outcome(number: int) -> Outcome:
    return Outcome(id_of(number), 300_000.0 + 100 * (number % 983), written(at(number + 3_600)))


def made(folder: Path, sizes: Sequence[int]) -> Stores:
    """One file grows; at each size it is copied, and each copy gets its outcomes."""
    found, start = {}, 0
    for size in sizes:
        with closing(SqlRecords(f"sqlite:///{folder / 'rows.db'}")) as records:
            append(records, start, size)
        start = size
        for name, known in KNOWN.items():
            copy = shutil.copy(folder / "rows.db", folder / f"{name}-{size}.db")
            found[name, size] = SqlRecords(f"sqlite:///{copy}")
            label(found[name, size], known(size), f"{size:,} rows, {name}")
        tell(f"{size:,} rows are written", end="\n")
    (folder / "rows.db").unlink()
    return found


def append(records: SqlRecords, start: int, end: int) -> None:
    for first in range(start, end, MOST_ROWS):
        records.append(blocks(range(first, min(first + MOST_ROWS, end))))
        tell(f"{first:,} of {end:,} rows")


def label(records: SqlRecords, numbers: Sequence[int], where: str) -> None:
    for first in range(0, len(numbers), MOST_ROWS):
        some = numbers[first : first + MOST_ROWS]
        records.label(HOUSING.name, [outcome(number) for number in some])
        tell(f"{where}: {first:,} of {len(numbers):,} outcomes")


def measured(stores: Stores, sizes: Sequence[int]) -> Figures:
    """The median of each, a row where everything is read; that comes first, while all is there."""
    rounds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for times, acts in ((SELDOM, slow), (OFTEN, quick)):
        for turn in range(times):
            for size in sizes:
                for name, act in acts(stores, size, turn).items():
                    tell(f"{name}, {size:,} rows: {turn + 1} of {times}")
                    rounds[name][size].append(seconds(act))
            tell(f"round {turn + 1} of {times}", end="\n")
    figures = {
        name: {size: median(took) for size, took in by_size.items()}
        for name, by_size in rounds.items()
    }
    return figures | {READ: {size: took / size for size, took in figures[READ].items()}}


def quick(stores: Stores, size: int, turn: int) -> Acts:
    store, fresh = stores["half", size], size + turn * GROUP
    group = blocks(range(fresh, fresh + GROUP))
    truth = outcome(size // 2 + 2 * turn + 1)
    before = written(at(size // 2))
    return {
        f"insert {GROUP}": lambda: store.append(group),
        "label 1": lambda: store.label(HOUSING.name, [truth]),
        f"forget {STEP_ROWS}": lambda: store.forget(before, STEP_ROWS),
    }


def slow(stores: Stores, size: int, turn: int) -> Acts:
    return {
        "report, half": lambda: look(stores["half", size]),
        "report, few": lambda: look(stores["few", size]),
        "report, old": lambda: look(stores["old", size]),
        READ: lambda: recorded(HOUSING, stores["half", size], 1, since=None),
    }


def look(records: SqlRecords) -> None:
    since = written(START)
    joined = recent_records(records, HOUSING.name, since=since)
    report(HOUSING.target.kind, HALF, OLD, since=since, joined=joined)


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def show(figures: Figures, sizes: Sequence[int]) -> bool:
    """The table; whether everything is flat."""
    print(f"{'':14}" + "".join(f"{f'{size:,} rows':>26}" for size in sizes))
    worst = 0.0
    for name, by_size in figures.items():
        ratios = [by_size[size] / by_size[sizes[0]] for size in sizes]
        worst = max(worst, *ratios)
        cells = (
            f"{1_000 * by_size[size]:,.4g} ms ({ratio:.2f})"
            for size, ratio in zip(sizes, ratios, strict=True)
        )
        print(f"{name:14}" + "".join(f"{cell:>26}" for cell in cells))
    print(f"flat within {FLAT:g}: {'yes' if worst <= FLAT else 'no'} (at most {worst:.2f} times)")
    return worst <= FLAT


def tell(what: str, end: str = "") -> None:
    """Progress, on a line that is written over; in a file only what ends a line."""
    if sys.stderr.isatty():
        what = f"\r\033[K{what}"
    elif not end:
        return
    print(what, end=end, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.growth --rows 100000 300000",
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=SIZES,
        help="sizes; a report reads the newest 50,000, so none below 100,000",
    )
    sizes = sorted(parser.parse_args().rows)
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        stores = made(Path(name), sizes)
        figures = measured(stores, sizes)
        for store in stores.values():
            store.close()
    tell("")
    return 0 if show(figures, sizes) else 1


if __name__ == "__main__":
    sys.exit(main())
