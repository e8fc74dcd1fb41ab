"""`records`: what was answered by whom, as a table, as a file; old ones are forgotten, and
those of one unit erased."""

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import click

from cli.shared import (
    MISUSED,
    MOMENT,
    Function,
    flag,
    group,
    option,
    problem_of,
    problem_option,
    say,
)
from engine.assemble import open_records
from engine.domain import retention
from engine.domain.record import JoinedRecord, RecordQuery
from engine.domain.schema import Schema
from engine.settings import Settings, load_settings
from problems import PROBLEMS

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 20_000
_FACTS = ("id", "at", "problem", "version", "variant", "unit", "request_id", "caller")
_NUMBERS = ("level", "value", "lower", "upper", "latency_us")
_EXAMPLES = """Examples:
  predictive records show
  predictive records export --out records.parquet --since 2026-11-01
  predictive records forget --before 2026-01-01 --yes
  predictive records erase --unit "user 7" --yes

Exit code: 0 done, 1 it failed, 2 wrong settings or arguments
"""


@group(examples=_EXAMPLES)
def records() -> None:
    """Look into the records: what was answered, by which version, and what became true."""


def _span(function: Function) -> Function:
    """Which records are asked for."""
    since = option("--since", type=MOMENT, help="Only records from this date or time (UTC) on.")
    until = option("--until", type=MOMENT, help="Only records before this date or time.")
    return problem_option(since(until(function)))


@records.command(examples="Example:\n  predictive records show --since 2026-11-01\n")
@_span
def show(problem: str | None, since: str | None, until: str | None) -> None:
    """Count records by version and variant: when, how many failed, how many have an outcome."""
    from rich.table import Table as Grid

    from engine.reports.console import console

    settings = load_settings()
    name = problem_of(problem, settings).name
    counts: defaultdict[tuple[str, str], _Count] = defaultdict(_Count)
    with closing(open_records(settings)) as store:
        for joined in store.read(RecordQuery(name, since, until)):
            counts[joined.record.version, joined.record.variant].add(joined)
    heads = ("version", "variant", "records", "errors", "outcomes", "first", "last")
    grid = Grid(*heads, box=None, padding=(0, 2, 0, 0))  # fits into 80 columns
    for key, one in sorted(counts.items()):
        numbers = (f"{number:,}" for number in (one.records, one.errors, one.outcomes))
        grid.add_row(*key, *numbers, one.first[:10], one.last[:10])
    console.print(grid)
    every = counts.values()
    total = sum(one.records for one in every)
    times = f", {min(o.first for o in every)} to {max(o.last for o in every)}" if total else ""
    say(f"{name}: {total:,} records{times}")


@records.command(examples="Example:\n  predictive records export --out records.parquet\n")
@_span
@option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
def export(problem: str | None, since: str | None, until: str | None, *, out: Path) -> None:
    """Write the records, joined with their outcomes, to a Parquet file; one row a record."""
    import pyarrow.parquet as pq

    from engine.scoring.replay import chunks
    from engine.stores.atomic import draft

    settings = load_settings()
    asked = problem_of(problem, settings)
    columns, total = _layout(asked.schema), 0
    with (
        closing(open_records(settings)) as store,
        draft(out) as path,
        pq.ParquetWriter(path, columns) as writer,
    ):
        for chunk in chunks(store.read(RecordQuery(asked.name, since, until)), _ROW_GROUP):
            writer.write_batch(_batch(chunk, asked.schema))
            total += len(chunk)
    say(f"{out}: {total:,} records")


@records.command(examples="Example:\n  predictive records forget --before 2026-01-01 --yes\n")
@option("--before", type=MOMENT, required=True, help="A date or time (UTC).")
@flag("--yes", help="Remove the records; this cannot be undone.")
def forget(before: str, yes: bool) -> int:
    """Remove what is older than a date, of every problem, with its outcomes."""
    settings = load_settings()
    with closing(open_records(settings)) as store:
        if not yes:
            old = (store.read(RecordQuery(name, until=before)) for name in _known_names(settings))
            return _refuse_without_yes(sum(1 for joined in old for _ in joined))
        total = retention.forget(store, before, pause=sleep, clock=monotonic)
    say(f"{total:,} records removed, all before {before}")
    return 0


@records.command(examples='Example:\n  predictive records erase --unit "user 7" --yes\n')
@problem_option
@option("--unit", required=True, help="Whose records: X-Unit-ID, else the key the body named.")
@flag("--yes", help="Remove the records; this cannot be undone.")
def erase(problem: str | None, unit: str, yes: bool) -> int:
    """Remove every record of one unit, with its outcomes."""
    settings = load_settings()
    name = problem_of(problem, settings).name
    with closing(open_records(settings)) as store:
        if not yes:
            every = store.read(RecordQuery(name, with_rows=False))
            return _refuse_without_yes(sum(joined.record.unit == unit for joined in every))
        total = store.erase(name, unit)
    say(f"{name}: {total:,} records of this unit removed")
    return 0


def _refuse_without_yes(count: int) -> int:
    click.echo(
        f"error: {count:,} records would be removed and cannot be restored: pass --yes", err=True
    )
    return MISUSED


@dataclass
class _Count:
    """Counts of one version in one role."""

    records: int = 0
    errors: int = 0
    outcomes: int = 0
    first: str = ""
    last: str = ""

    def add(self, joined: JoinedRecord) -> None:
        self.records += 1
        self.errors += joined.record.error is not None
        self.outcomes += joined.outcome is not None
        self.first = self.first or joined.record.at
        self.last = joined.record.at


def _known_names(settings: Settings) -> set[str]:
    """Our problems, those that are served, and those somebody trained."""
    trained = (folder.name for folder in (settings.data_dir / "models").glob("*/"))
    return {*PROBLEMS, *settings.serve, *trained}


def _layout(schema: Schema) -> "pa.Schema":
    """The file's columns: the record, its outcome, its features; a category is text."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            *((name, text) for name in _FACTS),
            *((name, number) for name in _NUMBERS),
            ("error", text),
            ("actual", number),
            ("known_at", text),
            *((f"feature_{c.name}", pa.type_for_alias(c.storage)) for c in schema.columns),
            ("other_features", text),
        ]
    )


def _batch(chunk: Sequence[JoinedRecord], schema: Schema) -> "pa.RecordBatch":
    import pyarrow as pa

    rows = [_flat(joined, schema) for joined in chunk]
    return pa.RecordBatch.from_pylist(rows, schema=_layout(schema))


def _flat(joined: JoinedRecord, schema: Schema) -> dict[str, Any]:
    """One row of the file; a row that does not fit today's schema is written as JSON in one
    column."""
    record, outcome = joined.record, joined.outcome
    row = record.row
    features = {
        column.name: row.get(column.name)
        for column in schema.columns
        if row.get(column.name) is None or column.holds(row[column.name])
    }
    line = {name: getattr(record, name) for name in (*_FACTS, *_NUMBERS, "error")}
    if outcome is not None:
        line |= {"actual": outcome.actual, "known_at": outcome.known_at}
    line |= {f"feature_{name}": value for name, value in features.items()}
    others = {name: value for name, value in row.items() if name not in features}
    return line | {"other_features": json.dumps(others) if others else None}
