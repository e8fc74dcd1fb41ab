"""The features that are looked up by key: load them from a table, look at them, join events with
what was known at their time."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.arguments import (
    add_problem,
    command_of,
    exit_code,
    moment,
    parser_of,
    rows,
    seed,
    share,
    unwind_when_terminated,
)
from engine.assemble import card_of, open_features
from engine.domain.errors import FeaturesUnavailable, InvalidSetting, UnusableTable
from engine.domain.ports import FeatureStore
from engine.domain.problem import Lookup, Problem
from engine.domain.times import written
from engine.settings import load_settings
from engine.stores.atomic import draft
from engine.tables.as_of import joined
from engine.tables.batches import Source, of_columns, of_file
from engine.tables.feature_table import FeatureTable, Finding, Part
from problems import named

ROWS = 10_000
WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pq.ParquetWriter}
SHOWN_FINDINGS = 5
EXAMPLES = """examples:
  python features.py load-features --problem basket --data users.parquet --key user_id
  python features.py load-features --problem basket --simulated
  python features.py show --problem basket --key-value abc123
  python features.py as-of --problem basket --data orders.csv --time ordered_at --out train.csv

exit code: 0 done, 1 it failed, 2 wrong settings or arguments
"""
console = Console()


def main() -> int:
    arguments = parse()
    return exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    problem = named(arguments.problem or settings.serve[0], partial(card_of, settings))
    if problem.lookup is None:
        raise InvalidSetting(
            f"{problem.name} looks nothing up: its requests carry every feature themselves"
        )
    if (settings.features_url or "").startswith("memory:"):
        raise InvalidSetting("FEATURES_URL: memory: is empty, and forgotten when this command ends")
    with closing(open_features(settings)) as store:
        arguments.act(arguments, problem, problem.lookup, store)
    return 0


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="load-features|show|as-of")
    loaded, shown, at_time = (
        command_of(commands, name, act, EXAMPLES)
        for name, act in (("load-features", load), ("show", show), ("as-of", as_of))
    )
    source = loaded.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a CSV or Parquet table")
    source.add_argument("--simulated", action="store_true", help="the problem's simulated table")
    loaded.add_argument("--rows", type=rows, default=ROWS, help=f"rows to simulate ({ROWS})")
    loaded.add_argument("--seed", type=seed, default=0, help="seed of the simulation (0)")
    loaded.add_argument(
        "--as-of", type=moment, help="every row is known from then on; default: now"
    )
    loaded.add_argument(
        "--max-bad-share",
        type=share,
        default=0.0,
        help="leave bad rows out; load nothing when they are a larger share (0)",
    )
    add_problem(parser, loaded, shown, at_time)
    shown.add_argument("--key-value", help="the key whose history is shown")
    at_time.add_argument("--data", type=Path, required=True, help="events: CSV or Parquet")
    at_time.add_argument("--out", type=Path, required=True, help="the .csv or .parquet to write")
    for one in (loaded, at_time):
        one.add_argument("--key", help="the column of keys; default: as the problem declares it")
        one.add_argument("--time", help="the column of times; default: at")
    return parser.parse_args()


def load(
    arguments: argparse.Namespace, problem: Problem, lookup: Lookup, store: FeatureStore
) -> None:
    """Write a table's features to the store: none of them when one row breaks the schema."""
    if arguments.simulated:
        name = f"simulated, {arguments.rows} rows, seed {arguments.seed}"
        source = of_columns(lookup.simulate(arguments.rows, arguments.seed), name)
    else:
        source = of_file(arguments.data)
    table = FeatureTable(
        problem,
        source,
        key=arguments.key or lookup.key,
        time=time_column(arguments, source),
        since=arguments.as_of or written(datetime.now(UTC)),
    )
    good = checked(table, arguments.max_bad_share)
    new = put(store, table, good)
    since = table.since if table.time is None else f"the time in {table.time}"
    known = f"{good:,} rows, {new:,} of them new, known from {since} on"
    keys = f"{store.count(problem.name):,} keys of {problem.name} have features"
    console.print(f"{source.name}: {known}; {keys}", highlight=False, soft_wrap=True)


def time_column(arguments: argparse.Namespace, source: Source) -> str | None:
    """Raises UnusableTable where the table says when, and --as-of says otherwise."""
    column = arguments.time or ("at" if "at" in source.columns else None)
    if column is not None and arguments.as_of is not None:
        raise UnusableTable(f"{source.name} says when, in {column}; leave --as-of out")
    return column


def checked(table: FeatureTable, max_bad_share: float) -> int:
    """How many rows keep the schema; raises UnusableTable when too few of them do."""
    total = bad = 0
    findings: list[Finding] = []
    for part in progress("checked", table.parts()):
        total += part.rows
        bad += part.bad_rows
        findings += part.findings[: SHOWN_FINDINGS - len(findings)]
    shown = "; ".join(map(str, findings)) + ("; ..." if bad > len(findings) else "")
    if total == 0:
        raise UnusableTable(f"{table.source.name} holds no rows")
    if bad > max_bad_share * total:
        raise UnusableTable(
            f"{bad:,} of {total:,} rows break the schema, nothing was loaded: {shown}"
        )
    if bad:
        said = f"{bad:,} of {total:,} rows are left out: {shown}"
        console.print(said, highlight=False, soft_wrap=True)
    return total - bad


def put(store: FeatureStore, table: FeatureTable, total: int) -> int:
    """How many were new; raises FeaturesUnavailable, saying how far it came."""
    new = done = 0
    for part in progress("loaded", table.parts(), total):
        try:
            new += store.put(table.problem.name, part.features)
        except FeaturesUnavailable as error:
            how_far = f"{done:,} of {total:,} rows are loaded; load again to have all"
            raise FeaturesUnavailable(f"{error}; {how_far}") from error
        done += len(part.features)
    return new


def progress(what: str, parts: Iterable[Part], total: int | None = None) -> Iterator[Part]:
    """The same parts, and a bar while they come."""
    count = TextColumn("{task.completed:>11,} rows {task.description}")
    columns = (count, BarColumn(), TimeElapsedColumn())
    is_file = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_file) as bar:
        task = bar.add_task(what, total=total)
        for part in parts:
            yield part
            bar.update(task, advance=part.rows)


def show(
    arguments: argparse.Namespace, problem: Problem, lookup: Lookup, store: FeatureStore
) -> None:
    """Count the keys that have features, or show what was known of one key, and from when on."""
    if arguments.key_value is None:
        print(f"{problem.name}: {store.count(problem.name):,} keys have features")  # noqa: T201
        return
    history = list(store.history(problem.name, [arguments.key_value]))
    if not history:
        print(f"{problem.name}: nothing is known of {lookup.key} {arguments.key_value}")  # noqa: T201
    for one in history:
        print(one.at, json.dumps(one.row, ensure_ascii=False))  # noqa: T201


def as_of(
    arguments: argparse.Namespace, problem: Problem, lookup: Lookup, store: FeatureStore
) -> None:
    """Add to each event of a table the features that were known of its key at its time."""
    events = of_file(arguments.data)
    key, time = arguments.key or lookup.key, arguments.time or "at"
    total = left_out = 0
    with batches_into(arguments.out) as write:
        for part in joined(problem, store, events, key=key, time=time):
            write(part.events)
            total += part.events.num_rows
            left_out += part.left_out
    unknown = f"; {left_out:,} left out: nothing was known of their {key} then" if left_out else ""
    console.print(f"{arguments.out}: {total:,} events{unknown}", highlight=False, soft_wrap=True)


@contextmanager
def batches_into(path: Path) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Writes batches; the file is there when the block ends well and wrote any."""
    writer_of = WRITERS.get(path.suffix.lower())
    if writer_of is None:
        raise UnusableTable(f"{path}: name a .csv or a .parquet file to write")
    opened: list[Any] = []
    with draft(path) as part, ExitStack() as open_writer:

        def write(batch: pa.RecordBatch) -> None:
            if not opened:
                opened.append(open_writer.enter_context(writer_of(part, batch.schema)))
            opened[0].write_batch(batch)

        yield write
        if not opened:
            raise UnusableTable("there are no events")


if __name__ == "__main__":
    unwind_when_terminated()
    sys.exit(main())
