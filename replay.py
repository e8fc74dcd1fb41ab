"""Ask recorded requests again: of the version that answered, or of another one."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from engine.arguments import FAILED, add_problem, exit_code, moment, parser_of, positive
from engine.assemble import Stores, card_of, open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.errors import ServiceError, UnknownVersion, UntrustedArtifact
from engine.domain.problem import Problem
from engine.domain.record import Joined, Question
from engine.domain.times import written
from engine.domain.version import Version
from engine.model.model import Model, serve
from engine.reports.comparisons import Thinned, draw_replay, write_page
from engine.scoring.replay import Finding, LeftOut, Models, Replayed, compared, recomputed, replayed
from engine.settings import Settings, load_settings
from problems import named

EQUAL, DIFFERENT = 0, 10
MODELS_IN_MEMORY = 8
STRIDE = 1_000
"""Records between two steps of the progress bar."""
EXAMPLES = """examples:
  python replay.py --since 2026-11-01                    is every record what its version says?
  python replay.py --since 2026-11-01 --version v1.1.0   what would v1.1.0 have said?
  python replay.py --newest 1000 --out page.html

exit code: 0 all equal (or --version), 10 some differ or their version cannot be asked, 1 it failed,
2 wrong settings or arguments
"""
console = Console()


def main() -> int:
    arguments = parse()
    return exit_code(lambda: replay(arguments, load_settings()))


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    add_problem(parser)
    parser.add_argument("--since", type=moment, help="from this date or time (UTC) on")
    parser.add_argument("--until", type=moment, help="up to, and without, this date or time")
    parser.add_argument("--newest", type=positive, metavar="N", help="only the latest N records")
    parser.add_argument("--version", help="ask this version instead of each record's own")
    parser.add_argument("--out", type=Path, help="where the page goes; default: DATA_DIR/reports")
    arguments = parser.parse_args()
    if arguments.since is None and arguments.newest is None:
        parser.error("--since TIME or --newest N is needed: which records?")
    if arguments.since and arguments.until and arguments.until <= arguments.since:
        parser.error("--until lies before --since")
    return arguments


def replay(arguments: argparse.Namespace, settings: Settings) -> int:
    """Read, ask, count, show; the exit code."""
    problem = named(arguments.problem or settings.serve[0], partial(card_of, settings))
    models = opener(problem, open_stores(settings, problem.name))
    version = arguments.version and known(arguments.version, models)
    wanted = Question(problem.name, arguments.since, arguments.until, newest=arguments.newest)
    left_out = LeftOut()
    sample = Thinned(columns=6)
    with closing(open_records(settings)) as records:
        joined = watched(records.read(wanted), wanted)
        parts = replayed(joined, problem.schema, models, version=version, left_out=left_out)
        drawn = sampled(parts, sample)
        finding = (
            compared(drawn, version, problem.target.kind)
            if version
            else recomputed(drawn, left_out)
        )
    for reason, count in left_out.reasons.items():
        say(f"left out: {count:,} records, {reason}")
    if finding is None:
        print(f"error: no record of {problem.name} to ask again", file=sys.stderr)  # noqa: T201
        return FAILED
    show(finding)
    name = f"replay-{now()[:19].replace(':', '-')}.html"
    path = arguments.out or settings.data_dir / "reports" / name
    span = f"since {wanted.since or 'the first'}, until {wanted.until or 'now'}"
    notes = "; ".join([f"{problem.title}, {span}", f"{left_out.total:,} left out", *finding.notes])
    pictures = draw_replay(sample.rows[:, :3], sample.rows[:, 3:], problem.target)
    write_page(path, finding.sentence, notes, table=finding.table, drawn=pictures)
    say(f"page: {path}")
    is_whole = version or not left_out.unanswered
    return EQUAL if is_whole and not finding.differing else DIFFERENT


def opener(problem: Problem, stores: Stores) -> Models:
    """A few models in memory; a version that is gone or refused is the reason why."""

    @lru_cache(MODELS_IN_MEMORY)
    def model(version: str) -> Model | ServiceError:
        try:
            return serve(found(stores, problem.name, Version.parse(version)), problem, now())
        except ServiceError as error:
            return error

    return model


def found(stores: Stores, problem: str, version: Version) -> Artifact:
    """A registered version, or the champion's file, which may be served without being one."""
    try:
        return stores.artifacts.load(problem, version)
    except UnknownVersion:
        with suppress(UntrustedArtifact):
            champion = stores.champion.load()
            if champion.card.version == str(version):
                return champion
        raise


def known(text: str, models: Models) -> str:
    """The version as it is printed; raises the reason when it cannot be asked."""
    version = str(Version.parse(text))
    model = models(version)
    if isinstance(model, ServiceError):
        raise model
    return version


def watched(joined: Iterable[Joined], wanted: Question) -> Iterator[Joined]:
    """The records as they pass, and a bar that shows how much of the time is done."""
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        start, end = 0.0, seconds(min(wanted.until or now(), now()))
        for number, one in enumerate(joined, start=1):
            start = start or seconds(wanted.since or one.record.at)
            yield one
            if number % STRIDE == 0:
                done = seconds(one.record.at) - start
                text = f"{number:,} records, {one.record.at}"
                bar.update(task, total=end - start, completed=done, description=text)
        bar.update(task, total=1, completed=1)


def seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def sampled(parts: Iterable[Replayed], sample: Thinned) -> Iterator[Replayed]:
    for part in parts:
        sample.add(np.hstack((part.recorded, part.computed)))
        yield part


def show(finding: Finding) -> None:
    head, *rows = finding.table
    grid = Grid()
    for number, heading in enumerate(head):
        grid.add_column(heading, justify="right" if number else "left")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)
    for note in finding.notes:
        say(note)
    console.print(finding.sentence, style="bold", soft_wrap=True)


def say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def now() -> str:
    return written(datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main())
