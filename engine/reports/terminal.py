"""What the scripts show in a terminal: progress, rows set aside, how candidates compare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from engine.domain.artifact import Artifact
from engine.domain.problem import Problem
from engine.judging.gate import Verdict
from engine.learning.acceptance import Acceptance, advice
from engine.learning.challenge import Trial
from engine.learning.train import selection_score
from engine.reports.console import console, progress_bar, say, show_grid
from engine.reports.kinds import SHOWN, figures_of, side_by_side
from engine.reports.metrics import figure
from engine.tables.table import Rejected, Table

_SHOWN_REJECTS = 5


def show_rows(table: Table, rejected: Rejected, folder: Path) -> None:
    """How many rows are left to learn from, and what was set aside, all of it in a file."""
    say(f"{table.source}: {len(table):,} rows to learn from")
    if rejected.rows:
        _show_rejected(rejected, folder / "rejected_rows.csv")
    for name, count in rejected.unknown.items():
        say(f"{name}: {count:,} rows name an unknown category, taken as missing")


def _show_rejected(rejected: Rejected, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.report.to_csv(path, index=False)
    say(f"{rejected.rows:,} of {rejected.of:,} rows set aside, all listed in {path}:")
    for finding in rejected.report.head(_SHOWN_REJECTS).itertuples():
        say(f"  row {finding.row}: {finding.column} {finding.rule}, is {finding.value!r}")


@contextmanager
def progress(algorithm: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar that moves with every step of one candidate, and names it."""
    columns = (
        TextColumn(f"{algorithm:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with progress_bar(columns, steps) as (bar, task):

        def tell(step: str) -> None:
            started = bar.tasks[0].description != ""
            bar.update(task, advance=1 if started else 0, description=step)

        yield tell
        bar.update(task, completed=steps, description="done")


def show_candidates(problem: Problem, artifacts: Sequence[Artifact]) -> None:
    """How the candidates compare, the best first."""
    shown = SHOWN[problem.target.kind]
    rows = [
        (label, *(figure(artifact, wanted) for artifact in artifacts))
        for label, wanted in figures_of(artifacts[0]).items()
    ]
    head = ("", *(artifact.card.algorithm for artifact in artifacts))
    show_grid([head, *rows], shown.title(problem.target))
    scores = ", ".join(f"{selection_score(artifact):.4f}" for artifact in artifacts)
    best = artifacts[0].card.algorithm
    say(f"chosen: {best}, the lower cross-fitted {shown.chosen_by} ({scores})")


def _show_comparison(figures: Mapping[str, tuple[str, str]]) -> None:
    """Champion and challenger on the judged rows."""
    rows = [(name, old, new) for name, (old, new) in figures.items()]
    show_grid([("", "champion", "challenger"), *rows], title="on rows that neither has seen")


def _show_verdict(verdict: Verdict) -> None:
    grid = Grid(min_width=80)
    for heading in ("", "check", "found", "asked for"):
        grid.add_column(heading)
    for check_ in verdict.checks:
        grid.add_row("✓" if check_.passed else "✗", check_.name, check_.figure, check_.rule)
    console.print(grid)
    console.print(verdict.sentence, style="bold")


def show_recalibrated(found: Acceptance) -> None:
    """Which rows calibrate a model that holds only since it was calibrated anew."""
    if found.is_recalibrated and found.holds:
        rows = found.artifact.card.calibration["rows"]
        say(
            f"intervals did not hold on the newest rows: {rows:,} of these calibrate now, and on "
            f"the {len(found.judged):,} after them they hold"
        )


def show_shortfall(found: Acceptance, *, is_promoted: bool, left: str) -> None:
    """The last line when intervals did not hold: why, where the model is (`left`), and what to
    do."""
    shortfall = found.artifact.card.shortfall
    if shortfall is None:
        return
    even = ", even after calibration on newer rows" if found.is_recalibrated else ""
    text = f"not promoted, {left}: {shortfall}{even}; {advice(found.judged)}, or --accept it"
    if is_promoted:
        text = f"accepted: {shortfall}{even}; /health keeps reporting it"
    say(text, style="bold yellow")


def show_trial(trial: Trial) -> None:
    if trial.evidence is not None:
        _show_comparison(side_by_side(trial.evidence))
    _show_verdict(trial.verdict)
