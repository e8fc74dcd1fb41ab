"""`features`: what is looked up by key: load it, look at it, join events with what was known."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import (
    MOMENT,
    ROWS,
    SEED,
    SHARE,
    Function,
    flag,
    group,
    now,
    option,
    problem_of,
    problem_option,
    say,
)
from engine.assemble import open_features
from engine.domain.errors import FeaturesUnavailable, InvalidSetting, UnusableTable
from engine.domain.ports import FeatureStore
from engine.domain.problem import Lookup, Problem
from engine.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.tables.batches import Source
    from engine.tables.feature_table import BrokenRule, FeatureBatch, FeatureTable

_SIMULATED_ROWS = 10_000
_SHOWN_FINDINGS = 5
_EXAMPLES = """Examples:
  predictive features load --problem basket --data users.parquet --key user_id
  predictive features load --problem basket --simulated
  predictive features show --problem basket --key-value abc123
  predictive features as-of --problem basket --data orders.csv --time ordered_at --out train.csv

Exit code: 0 done, 1 it failed, 2 wrong settings or arguments
"""


@group(examples=_EXAMPLES)
def features() -> None:
    """The features that are looked up by key: load them from a table, look at them, join events
    with what was known at their time."""


@contextmanager
def _looked_up(name: str | None) -> Iterator[tuple[Problem, Lookup, FeatureStore]]:
    """The problem, how it looks features up, and where; raises InvalidSetting where it does not."""
    settings = load_settings()
    problem = problem_of(name, settings)
    if problem.lookup is None:
        raise InvalidSetting(
            f"{problem.name} looks up no features by key: its requests contain every feature"
        )
    if (settings.features_url or "").startswith("memory:"):
        raise InvalidSetting(
            "FEATURES_URL: memory: is lost when this command ends; name a database"
        )
    with closing(open_features(settings)) as store:
        yield problem, problem.lookup, store


def _columns_option(function: Function) -> Function:
    key = option("--key", help="The column of keys; default: as the problem declares it.")
    time = option("--time", help="The column of times; default: at.")
    return problem_option(key(time(function)))


@features.command(
    examples="Example:\n"
    "  predictive features load --problem basket --data users.parquet --key user_id\n"
)
@_columns_option
@option("--data", type=click.Path(path_type=Path), help="A CSV or Parquet table.")
@flag(
    "--simulated",
    excludes=("data",),
    because="the features come from one source",
    help="The problem's simulated table.",
)
@option("--rows", type=ROWS, default=_SIMULATED_ROWS, show_default=True, help="Rows to simulate.")
@option("--seed", type=SEED, default=0, show_default=True, help="Seed of the simulation.")
@option("--as-of", type=MOMENT, help="The time from which every row is known; default: now.")
@option(
    "--max-bad-share",
    type=SHARE,
    default=0.0,
    show_default=True,
    help="Leave out rows that break the schema; load nothing if they are a larger share.",
)
def load(
    problem: str | None,
    data: Path | None,
    simulated: bool,
    *,
    rows: int,
    seed: int,
    key: str | None,
    time: str | None,
    as_of: str | None,
    max_bad_share: float,
) -> None:
    """Write a table's features to the store: none of them when one row breaks the schema."""
    from engine.tables.batches import of_columns, of_file
    from engine.tables.feature_table import FeatureTable

    if data is None and not simulated:
        raise click.UsageError("name a table with --data, or load the --simulated one")
    with _looked_up(problem) as (asked, lookup, store):
        name = f"simulated, {rows} rows, seed {seed}"
        source = of_columns(lookup.simulate(rows, seed), name) if data is None else of_file(data)
        table = FeatureTable(
            asked,
            source,
            key=key or lookup.key,
            time=_time_column(time, as_of, source),
            since=as_of or now(),
        )
        good = _checked(table, max_bad_share)
        new = _put(store, table, good)
        since = table.since if table.time is None else f"the time in {table.time}"
        known = f"{good:,} rows, {new:,} of them new, known from {since} on"
        keys = f"{store.count(asked.name):,} keys of {asked.name} have features"
        say(f"{source.name}: {known}; {keys}")


@features.command(
    examples="Example:\n  predictive features show --problem basket --key-value abc123\n"
)
@problem_option
@option("--key-value", help="The key whose history is shown.")
def show(problem: str | None, key_value: str | None) -> None:
    """Count the keys that have features, or show what was known of one key, and from when on."""
    with _looked_up(problem) as (asked, lookup, store):
        if key_value is None:
            say(f"{asked.name}: {store.count(asked.name):,} keys have features")
            return
        history = list(store.history(asked.name, [key_value]))
    if not history:
        say(f"{asked.name}: no features are known for {lookup.key} {key_value}")
    for one in history:
        say(f"{one.at} {json.dumps(one.row, ensure_ascii=False)}")


@features.command(
    "as-of",
    examples="Example:\n"
    "  predictive features as-of --problem basket --data orders.csv --out train.csv\n",
)
@_columns_option
@option("--data", type=click.Path(path_type=Path), required=True, help="Events: CSV or Parquet.")
@option(
    "--out", type=click.Path(path_type=Path), required=True, help="The .csv or .parquet to write."
)
def as_of(problem: str | None, data: Path, key: str | None, *, time: str | None, out: Path) -> None:
    """Add to each event of a table the features that were known of its key at its time."""
    from engine.tables.as_of import joined
    from engine.tables.batches import of_file

    total = left_out = 0
    with _looked_up(problem) as (asked, lookup, store), _batches_into(out) as write:
        keys = key or lookup.key
        for part in joined(asked, store, of_file(data), key=keys, time=time or "at"):
            write(part.events)
            total += part.events.num_rows
            left_out += part.left_out
    unknown = (
        f"; {left_out:,} left out: no features were known for their {keys}" if left_out else ""
    )
    say(f"{out}: {total:,} events{unknown}")


def _time_column(named: str | None, since: str | None, source: "Source") -> str | None:
    """Raises UnusableTable where the table says when, and --as-of says otherwise."""
    column = named or ("at" if "at" in source.columns else None)
    if column is not None and since is not None:
        raise UnusableTable(
            f"{source.name} has its times in the column {column}; leave --as-of out"
        )
    return column


def _checked(table: "FeatureTable", max_bad_share: float) -> int:
    """How many rows keep the schema; raises UnusableTable when too few of them do."""

    total = bad = 0
    findings: list[BrokenRule] = []
    for part in _progress("checked", table.parts()):
        total += part.rows
        bad += part.bad_rows
        findings += part.findings[: _SHOWN_FINDINGS - len(findings)]
    shown = "; ".join(map(str, findings)) + ("; ..." if bad > len(findings) else "")
    if total == 0:
        raise UnusableTable(f"{table.source.name} holds no rows")
    if bad > max_bad_share * total:
        raise UnusableTable(
            f"{bad:,} of {total:,} rows break the schema, nothing was loaded: {shown}"
        )
    if bad:
        say(f"{bad:,} of {total:,} rows are left out: {shown}")
    return total - bad


def _put(store: FeatureStore, table: "FeatureTable", total: int) -> int:
    """How many were new; raises FeaturesUnavailable, saying how far it came."""
    new = done = 0
    for part in _progress("loaded", table.parts(), total):
        try:
            new += store.put(table.problem.name, part.features)
        except FeaturesUnavailable as error:
            how_far = f"{done:,} of {total:,} rows were loaded; load again for the rest"
            raise FeaturesUnavailable(f"{error}; {how_far}") from error
        done += len(part.features)
    return new


def _progress(
    what: str, parts: "Iterable[FeatureBatch]", total: int | None = None
) -> "Iterator[FeatureBatch]":
    """The same parts, and a bar while they come."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    from engine.reports.console import progress_bar

    count = TextColumn(f"{{task.completed:>11,}} rows {what}")
    columns = (count, BarColumn(), TimeElapsedColumn())
    with progress_bar(columns, total, is_transient=True) as (bar, task):
        for part in parts:
            yield part
            bar.update(task, advance=part.rows)


@contextmanager
def _batches_into(path: Path) -> "Iterator[Callable[[pa.RecordBatch], None]]":
    """Writes batches; the file is there when the block ends well and wrote any."""
    import pyarrow.csv
    import pyarrow.parquet

    from engine.stores.atomic import draft

    writers = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}
    writer_of = writers.get(path.suffix.lower())
    if writer_of is None:
        raise UnusableTable(f"{path}: name a .csv or a .parquet file to write")
    opened: list[Any] = []
    with draft(path) as part, ExitStack() as open_writer:

        def write(batch: "pa.RecordBatch") -> None:
            if not opened:
                opened.append(open_writer.enter_context(writer_of(part, batch.schema)))
            opened[0].write_batch(batch)

        yield write
        if not opened:
            raise UnusableTable("there are no events to write")
