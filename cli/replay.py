"""`replay`: recorded requests asked again: of the version that answered, or of another one."""

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.shared import (
    FAILED,
    MOMENT,
    ROWS,
    command,
    now,
    option,
    problem_of,
    problem_option,
    say,
)
from engine.assemble import Stores, open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.errors import ServiceError, UnknownVersion, UntrustedArtifact
from engine.domain.problem import Problem
from engine.domain.record import JoinedRecord, RecordQuery
from engine.domain.version import Version
from engine.model.model import Model, serve
from engine.settings import Settings, load_settings

if TYPE_CHECKING:
    from engine.reports.comparisons import Thinned
    from engine.scoring.replay import LeftOut, Models, Replayed, ReplayFinding

_EQUAL, _DIFFERENT = 0, 10
_MODELS_IN_MEMORY = 8
_STRIDE = 1_000
"""Records between two steps of the progress bar."""
_EXAMPLES = """Examples:
  predictive replay --since 2026-11-01                    is every record what its version says?
  predictive replay --since 2026-11-01 --version v1.1.0   what would v1.1.0 have said?
  predictive replay --newest 1000 --out page.html

Exit code: 0 all equal (or --version), 10 some differ or their version cannot be asked, 1 it failed,
2 wrong settings or arguments
"""


@command(examples=_EXAMPLES)
@problem_option
@option("--since", type=MOMENT, help="Only records from this date or time (UTC) on.")
@option("--until", type=MOMENT, help="Only records before this date or time.")
@option("--newest", type=ROWS, metavar="N", help="Only the latest N records.")
@option("--version", help="Ask this version instead of each record's own.")
@option("--out", type=click.Path(path_type=Path), help="The page; default: in DATA_DIR/reports.")
def replay(
    problem: str | None,
    since: str | None,
    until: str | None,
    *,
    newest: int | None,
    version: str | None,
    out: Path | None,
) -> int:
    """Ask recorded requests again: of the version that answered, or of another one."""
    if since is None and newest is None:
        raise click.UsageError("pass --since TIME or --newest N to choose the records")
    if since and until and until <= since:
        raise click.UsageError("--until must be later than --since")
    settings = load_settings()
    asked = problem_of(problem, settings)
    wanted = RecordQuery(asked.name, since, until, newest=newest)
    found = _ask_again(asked, wanted, version, settings=settings)
    for reason, count in found.left_out.reasons.items():
        say(f"left out: {count:,} records, {reason}")
    if found.finding is None:
        click.echo(f"error: there are no records of {asked.name} to replay", err=True)
        return FAILED
    page = out or settings.reports / f"replay-{now()[:19].replace(':', '-')}.html"
    _show(found, found.finding, asked, wanted=wanted, page=page)
    is_whole = version or not found.left_out.unanswered
    return _EQUAL if is_whole and not found.finding.differing else _DIFFERENT


@dataclass(frozen=True)
class _Again:
    """What a replay found, if anything was asked, what it left out, and points to draw."""

    finding: "ReplayFinding | None"
    left_out: "LeftOut"
    sample: "Thinned"


def _ask_again(
    asked: Problem, wanted: RecordQuery, named: str | None, *, settings: Settings
) -> _Again:
    """Ask the records' own versions, or the named one; raises the reason why that cannot be."""
    from engine.reports.comparisons import Thinned
    from engine.scoring.replay import LeftOut, compared, recomputed, replayed

    models = _opener(asked, open_stores(settings, asked.name))
    version = named and _known(named, models)
    left_out, sample = LeftOut(), Thinned(columns=6)
    with closing(open_records(settings)) as records:
        joined = _watched(records.read(wanted), wanted)
        parts = replayed(joined, asked.schema, models, version=version, left_out=left_out)
        drawn = _sampled(parts, sample)
        if version is None:
            return _Again(recomputed(drawn, left_out), left_out, sample)
        return _Again(compared(drawn, version, asked.target.kind), left_out, sample)


def _show(
    found: _Again, finding: "ReplayFinding", asked: Problem, *, wanted: RecordQuery, page: Path
) -> None:
    """What was found, in the terminal and as a page."""
    from engine.reports.comparisons import draw_replay, write_page
    from engine.reports.console import show_grid

    show_grid(finding.table)
    for note in finding.notes:
        say(note)
    say(finding.sentence, style="bold")
    span = f"since {wanted.since or 'the first'}, until {wanted.until or 'now'}"
    about = f"{asked.title}, {span}", f"{found.left_out.total:,} left out"
    rows = found.sample.rows
    drawn = draw_replay(rows[:, :3], rows[:, 3:], asked.target)
    write_page(
        page,
        finding.sentence,
        "; ".join([*about, *finding.notes]),
        table=finding.table,
        drawn=drawn,
    )
    say(f"page: {page}")


def _opener(problem: Problem, stores: Stores) -> "Models":
    """A few models in memory; a version that is gone or refused is the reason why."""

    @lru_cache(_MODELS_IN_MEMORY)
    def model(version: str) -> Model | ServiceError:
        try:
            return serve(_found(stores, problem.name, Version.parse(version)), problem, now())
        except ServiceError as error:
            return error

    return model


def _found(stores: Stores, problem: str, version: Version) -> Artifact:
    """A registered version, or the champion's file, which may be served without being one."""
    try:
        return stores.artifacts.load(problem, version)
    except UnknownVersion:
        with suppress(UntrustedArtifact):
            champion = stores.champion.load()
            if champion.card.version == str(version):
                return champion
        raise


def _known(text: str, models: "Models") -> str:
    """The version as it is printed; raises the reason when it cannot be asked."""
    version = str(Version.parse(text))
    model = models(version)
    if isinstance(model, ServiceError):
        raise model
    return version


def _watched(joined: Iterable[JoinedRecord], wanted: RecordQuery) -> Iterator[JoinedRecord]:
    """The records as they pass, and a bar that shows how much of the time is done."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from engine.reports.console import progress_bar

    words = TextColumn("{task.description}")
    with progress_bar((BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), words)) as (
        bar,
        task,
    ):
        start, end = 0.0, _seconds(min(wanted.until or now(), now()))
        for number, one in enumerate(joined, start=1):
            start = start or _seconds(wanted.since or one.record.at)
            yield one
            if number % _STRIDE == 0:
                done = _seconds(one.record.at) - start
                text = f"{number:,} records, {one.record.at}"
                bar.update(task, total=end - start, completed=done, description=text)
        bar.update(task, total=1, completed=1)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _sampled(parts: "Iterable[Replayed]", sample: "Thinned") -> "Iterator[Replayed]":
    import numpy as np

    for part in parts:
        sample.add(np.hstack((part.recorded, part.computed)))
        yield part
