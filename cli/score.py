"""`score`: whole tables through a registered model, offline."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import time_ns
from typing import TYPE_CHECKING, Any

import click

from cli.shared import (
    Function,
    command,
    flag,
    now,
    option,
    options,
    problem_of,
    problem_option,
    say,
)
from engine.assemble import open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.errors import InvalidSetting, UnusableTable
from engine.domain.ports import Records
from engine.domain.prediction import DEFAULT_THRESHOLD
from engine.domain.problem import Problem
from engine.domain.record import CHAMPION, PINNED
from engine.domain.version import Version
from engine.model.model import serve
from engine.settings import Settings, load_settings

if TYPE_CHECKING:
    from engine.scoring.batch import ScoringOrder, Tally
    from engine.scoring.source import Source
    from engine.scoring.tables import Output

_CHUNK_ROWS = 100_000
_FORMATS = ("parquet", "csv", "arrow", "arrows")
_SHOWN = 10
_EXAMPLES = """Examples:
  predictive score houses.parquet predicted.parquet
  predictive score tonight/ predicted/ --format csv --confidence 0.8
  predictive score users.csv risks.parquet --problem churn --model-version v1.2.0

A run that was interrupted goes on where it was when it is started again.
Exit code: 0 done, 1 it failed, 2 wrong settings or arguments
"""


def _how(function: Function) -> Function:
    """How it is done, which changes no prediction."""
    return options(
        option(
            "--jobs", type=click.IntRange(1), metavar="N", help="Processes; default: all cores."
        ),
        option(
            "--chunk-rows",
            type=click.IntRange(1_000, 10_000_000),
            default=_CHUNK_ROWS,
            show_default=True,
            metavar="N",
            help="Rows of one part: so many are in memory for each process.",
        ),
        flag("--record", help="Keep the answers in the records, as a service does."),
        option(
            "--engine",
            type=click.Choice(("processes", "spark")),
            default="processes",
            show_default=True,
            help="This machine, or a Spark cluster.",
        ),
        option("--master", needs=("engine",), because="it is Spark's", help="URL of the cluster."),
    )(function)


@command(examples=_EXAMPLES)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@problem_option
@option("--model-version", help="A registered version; default: the champion.")
@option(
    "--confidence",
    type=float,
    default=DEFAULT_CONFIDENCE,
    show_default=True,
    help="How often the interval should hold the truth.",
)
@option("--prefix", default="", help="Stands before the names of the columns that are added.")
@option("--format", type=click.Choice(_FORMATS), help="Of OUT; default: as OUT ends, else as IN.")
@_how
def score(
    source: str,
    out: str,
    problem: str | None,
    *,
    model_version: str | None,
    confidence: float,
    prefix: str,
    **how: Any,
) -> None:
    """Predict every row of the table IN, and write it to OUT with the predictions beside it.

    IN and OUT are Parquet, CSV or Arrow files, or folders of them; with --engine spark Parquet.
    """
    settings = load_settings()
    asked = problem_of(problem, settings)
    order = partial(_order, asked, settings, model_version, confidence=confidence, prefix=prefix)
    if how["engine"] == "spark":
        _score_on_spark(order(is_untyped=False), source, out, how=how)
    else:
        _score_here(order, settings, Path(source), out=Path(out), how=how)


def _score_here(
    order_of: "Callable[..., ScoringOrder]",
    settings: Settings,
    place: Path,
    *,
    out: Path,
    how: Mapping[str, Any],
) -> None:
    from engine.scoring.source import open_source
    from engine.scoring.tables import ScoringRun
    from engine.stores.atomic import draft
    from engine.stores.lock import exclusive

    source = open_source(place)
    order = order_of(is_untyped=source.is_untyped)
    order.refuse_unfit(source.name, source.schema.names)
    output = _output(out, how["format"], source)
    records = _opener(settings) if how["record"] else None
    with exclusive(output.lock, "another run"):
        run = ScoringRun.begun(source, order, output, draft=draft, chunk_rows=how["chunk_rows"])
        if run.parts.finished:
            say(f"{run.parts.finished:,} finished parts of an earlier run are kept")
        jobs = int(min(how["jobs"] or _cores(), run.most_jobs))
        total = _total(_watched(run.go(jobs, records), source.rows))
    _tell(total, str(out), order)


def _score_on_spark(
    order: "ScoringOrder", source: str, out: str, *, how: Mapping[str, Any]
) -> None:
    from engine.scoring.spark import score_on_spark

    if how["master"] is None:
        raise click.UsageError("--engine spark needs --master, such as spark://host:7077")
    if how["record"] or how["jobs"] or how["format"] not in {None, "parquet"}:
        raise click.UsageError("--engine spark goes with none of --record, --jobs and --format")
    places = (place if "://" in place else str(Path(place).resolve()) for place in (source, out))
    total = score_on_spark(order, *places, master=how["master"])
    _tell(total, out, order)


def _order(
    asked: Problem,
    settings: Settings,
    version: str | None,
    *,
    confidence: float,
    prefix: str,
    is_untyped: bool,
) -> "ScoringOrder":
    """Raises the reason why the model cannot be asked, before anything is scored."""
    from engine.scoring.batch import ScoringOrder

    artifact = _artifact(asked, settings, version)
    order = ScoringOrder(
        schema=asked.schema,
        target=asked.target,
        artifact=replace(artifact, estimator=b""),
        confidence=confidence,
        threshold=DEFAULT_THRESHOLD if asked.declared else settings.default_threshold,
        run=f"{time_ns() // 1_000_000:012x}{token_hex(10)}",
        at=now(),
        variant=PINNED if version else CHAMPION,
        prefix=prefix,
        is_untyped=is_untyped,
    )
    serve(artifact, asked, now()).predict(artifact.golden.rows[:1], confidence)
    return order


def _artifact(asked: Problem, settings: Settings, version: str | None) -> Artifact:
    stores = open_stores(settings, asked.name)
    if version is None:
        return stores.champion.load()
    return stores.artifacts.load(asked.name, Version.parse(version))


def _output(out: Path, format: str | None, source: "Source") -> "Output":
    """Raises UnusableTable for a place that is taken, and for a name that says otherwise."""
    from engine.scoring.formats import format_of
    from engine.scoring.tables import Output

    named = format_of(out)
    if named is None and out.suffix and not out.is_dir() and format is None:
        raise UnusableTable(f"{out}: name a folder, or a file that ends in {', '.join(_FORMATS)}")
    if named and format and named != format:
        raise UnusableTable(f"{out} is named as {named}, and --format says {format}")
    output = Output(out, format or named or source.format, is_folder=named is None)
    output.refuse_taken()
    return output


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _opener(settings: Settings) -> "Callable[[], Records]":
    """What opens the records; raises InvalidSetting where none would be kept."""
    if settings.records == "off":
        raise InvalidSetting("RECORDS is off, and --record needs records; turn RECORDS on")
    if (settings.records_url or "").startswith("memory:"):
        raise InvalidSetting("RECORDS_URL: memory: is lost when this command ends; name a database")
    open_records(settings).close()
    return partial(open_records, settings)


def _watched(tallies: "Iterable[Tally]", rows: int | None) -> "Iterator[Tally]":
    """The same, and a bar while they come."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from engine.reports.console import progress_bar

    count = TextColumn("{task.completed:>13,} rows scored")
    columns = (count, BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with progress_bar(columns, rows, is_transient=True) as (bar, task):
        for tally in tallies:
            yield tally
            bar.update(task, advance=tally.rows)


def _total(tallies: "Iterable[Tally]") -> "Tally":
    from engine.scoring.batch import Tally

    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _tell(total: "Tally", out: str, order: "ScoringOrder") -> None:
    for warning, count in total.warnings.most_common(_SHOWN):
        say(f"{count:,} rows: {warning}: trust the answer less")
    for rule, count in total.rules.most_common(_SHOWN):
        say(f"{count:,} rows without a prediction: {rule}")
    bad = f", {total.bad:,} of them without a prediction" if total.bad else ""
    say(f"{out}: {total.rows:,} rows by {order.version}{bad}", style="bold")
