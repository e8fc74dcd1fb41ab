"""Look into the records: what was answered by whom, as a table, as a file; or forget old ones."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid

from engine.arguments import (
    MISUSED,
    add_problem,
    command_of,
    exit_code,
    moment,
    parser_of,
    unwind_when_terminated,
)
from engine.assemble import card_of, open_records
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.record import Joined, Question
from engine.domain.retention import forget as forget_records
from engine.domain.schema import Schema
from engine.scoring.replay import chunks, is_of
from engine.settings import Settings, load_settings
from engine.stores.atomic import draft
from problems import PROBLEMS, named

ROW_GROUP = 20_000
FACTS = ("id", "at", "problem", "version", "variant", "unit", "request_id", "caller")
NUMBERS = ("level", "value", "lower", "upper", "latency_us")
EXAMPLES = """examples:
  python records.py show
  python records.py export --out records.parquet --since 2026-11-01
  python records.py forget --before 2026-01-01 --yes

exit code: 0 done, 1 it failed, 2 wrong settings or arguments
"""
console = Console()


def main() -> int:
    arguments = parse()
    return exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    with closing(open_records(settings)) as records:
        return int(arguments.act(arguments, settings, records))


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="show|export|forget")
    shown, exported, forgotten = (
        command_of(commands, act.__name__, act, EXAMPLES) for act in (show, export, forget)
    )
    add_problem(parser, shown, exported)
    for one in (shown, exported):
        one.add_argument("--since", type=moment, help="from this date or time (UTC) on")
        one.add_argument("--until", type=moment, help="up to, and without, this date or time")
    exported.add_argument("--out", type=Path, required=True, help="the file to write")
    forgotten.add_argument("--before", type=moment, required=True, help="a date or time (UTC)")
    forgotten.add_argument("--yes", action="store_true", help="remove them, for good")
    arguments = parser.parse_args()
    if arguments.act is forget and arguments.problem is not None:
        parser.error("forget removes records of every problem: leave --problem out")
    return arguments


@dataclass
class Count:
    """Of one version in one role."""

    records: int = 0
    errors: int = 0
    outcomes: int = 0
    first: str = ""
    last: str = ""

    def add(self, joined: Joined) -> None:
        self.records += 1
        self.errors += joined.record.error is not None
        self.outcomes += joined.outcome is not None
        self.first = self.first or joined.record.at
        self.last = joined.record.at


def asked_about(arguments: argparse.Namespace, settings: Settings) -> Problem:
    return named(arguments.problem or settings.serve[0], partial(card_of, settings))


def show(arguments: argparse.Namespace, settings: Settings, records: Records) -> int:
    """Count records by version and variant: when, how many failed, how many have an outcome."""
    problem = asked_about(arguments, settings)
    wanted = Question(problem.name, arguments.since, arguments.until)
    counts: defaultdict[tuple[str, str], Count] = defaultdict(Count)
    for joined in records.read(wanted):
        counts[joined.record.version, joined.record.variant].add(joined)
    heads = ("version", "variant", "records", "errors", "outcomes", "first", "last")
    grid = Grid(*heads, box=None, padding=(0, 2, 0, 0))  # fits into 80 columns
    for key, one in sorted(counts.items()):
        numbers = (f"{number:,}" for number in (one.records, one.errors, one.outcomes))
        grid.add_row(*key, *numbers, one.first[:10], one.last[:10])
    console.print(grid)
    every = counts.values()
    total = sum(one.records for one in every)
    span = f", {min(o.first for o in every)} to {max(o.last for o in every)}" if total else ""
    console.print(f"{problem.name}: {total:,} records{span}", highlight=False)
    return 0


def export(arguments: argparse.Namespace, settings: Settings, records: Records) -> int:
    """Write the records, joined with their outcomes, to a Parquet file; one row a record."""
    problem = asked_about(arguments, settings)
    schema, wanted = problem.schema, Question(problem.name, arguments.since, arguments.until)
    total = 0
    with draft(arguments.out) as path, pq.ParquetWriter(path, layout(schema)) as writer:
        for chunk in chunks(records.read(wanted), ROW_GROUP):
            writer.write_batch(batch(chunk, schema))
            total += len(chunk)
    console.print(f"{arguments.out}: {total:,} records", highlight=False, soft_wrap=True)
    return 0


def forget(arguments: argparse.Namespace, settings: Settings, records: Records) -> int:
    """Remove what is older than a date, of every problem, with its outcomes."""
    if not arguments.yes:
        names = known_names(settings)
        old = (records.read(Question(name, until=arguments.before)) for name in names)
        count = sum(1 for joined in old for _ in joined)
        say = f"{count:,} records would be removed for good; to do it, say --yes"
        print(f"error: {say}", file=sys.stderr)  # noqa: T201
        return MISUSED
    total = forget_records(records, arguments.before, pause=sleep, clock=monotonic)
    console.print(f"{total:,} records removed, all before {arguments.before}", highlight=False)
    return 0


def known_names(settings: Settings) -> set[str]:
    """Our problems, those that are served, and those somebody trained."""
    trained = (folder.name for folder in (settings.data_dir / "models").glob("*/"))
    return {*PROBLEMS, *settings.serve, *trained}


def layout(schema: Schema) -> pa.Schema:
    """The file's columns: the record, its outcome, its features; a category is text."""
    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            *((name, text) for name in FACTS),
            *((name, number) for name in NUMBERS),
            ("error", text),
            ("actual", number),
            ("known_at", text),
            *((f"feature_{c.name}", text if is_of(c, "") else number) for c in schema.columns),
            ("other_features", text),
        ]
    )


def batch(chunk: Sequence[Joined], schema: Schema) -> pa.RecordBatch:
    rows = [flat(joined, schema) for joined in chunk]
    return pa.RecordBatch.from_pylist(rows, schema=layout(schema))


def flat(joined: Joined, schema: Schema) -> dict[str, Any]:
    """One line of the file; what does not fit today's schema stays together, as JSON."""
    record, outcome = joined.record, joined.outcome
    row = record.row
    features = {
        column.name: row.get(column.name)
        for column in schema.columns
        if row.get(column.name) is None or is_of(column, row[column.name])
    }
    line = {name: getattr(record, name) for name in (*FACTS, *NUMBERS, "error")}
    if outcome is not None:
        line |= {"actual": outcome.actual, "known_at": outcome.known_at}
    line |= {f"feature_{name}": value for name, value in features.items()}
    others = {name: value for name, value in row.items() if name not in features}
    return line | {"other_features": json.dumps(others) if others else None}


if __name__ == "__main__":
    unwind_when_terminated()
    sys.exit(main())
