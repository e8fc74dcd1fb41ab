"""What the scripts show in a terminal: progress, rows set aside, how candidates compare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from engine.domain.artifact import Artifact
from engine.domain.loss import LOSS
from engine.domain.problem import Problem
from engine.domain.schema import BINARY
from engine.judging.gate import Verdict
from engine.learning.train import selection_score
from engine.reports.metrics import figure, figures_of
from engine.tables.table import Rejected

SHOWN_REJECTS = 5
console = Console()


def show_rejected(rejected: Rejected, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.report.to_csv(path, index=False)
    console.print(f"{rejected.rows:,} of {rejected.of:,} rows set aside, all listed in {path}:")
    for finding in rejected.report.head(SHOWN_REJECTS).itertuples():
        console.print(f"  row {finding.row}: {finding.column} {finding.rule}, is {finding.value!r}")


@contextmanager
def progress(algorithm: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar that moves with every step of one candidate, and names it."""
    columns = (
        TextColumn("{task.fields[algorithm]:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=steps, algorithm=algorithm)

        def tell(step: str) -> None:
            started = bar.tasks[0].description != ""
            bar.update(task, advance=1 if started else 0, description=step)

        yield tell
        bar.update(task, completed=steps, description="done")


def show_candidates(problem: Problem, artifacts: Sequence[Artifact]) -> None:
    """How the candidates compare, the best first."""
    kind, unit = problem.target.kind, problem.target.unit
    title = f"on test rows, {unit}; intervals at 90 % where not said"
    chosen_by = LOSS[kind]
    if kind == BINARY:
        title, chosen_by = f"on test rows, probability of {problem.target.name}", "Brier score"
    grid = Grid(title=title, min_width=80)
    for heading in ("", *(artifact.card.algorithm for artifact in artifacts)):
        grid.add_column(heading, justify="right" if heading else "left")
    for label, wanted in figures_of(artifacts[0]).items():
        grid.add_row(label, *(figure(artifact, wanted) for artifact in artifacts))
    console.print(grid)
    scores = ", ".join(f"{selection_score(artifact):.4f}" for artifact in artifacts)
    console.print(
        f"chosen: {artifacts[0].card.algorithm}, the lower cross-fitted {chosen_by} ({scores})"
    )


def show_comparison(figures: Mapping[str, tuple[str, str]]) -> None:
    """Champion and challenger on the judged rows."""
    grid = Grid(title="on rows that neither has seen", min_width=80)
    for heading in ("", "champion", "challenger"):
        grid.add_column(heading, justify="right" if heading else "left")
    for name, (old, new) in figures.items():
        grid.add_row(name, old, new)
    console.print(grid)


def show_verdict(verdict: Verdict) -> None:
    grid = Grid(min_width=80)
    for heading in ("", "check", "found", "asked for"):
        grid.add_column(heading)
    for check_ in verdict.checks:
        grid.add_row("✓" if check_.passed else "✗", check_.name, check_.figure, check_.rule)
    console.print(grid)
    console.print(verdict.sentence, style="bold")
