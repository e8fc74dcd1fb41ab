"""What the scripts show in a terminal: progress, rows set aside, how candidates compare."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from engine.domain.artifact import Artifact
from engine.domain.loss import LOSS
from engine.domain.problem import Columns, Problem
from engine.domain.schema import BINARY
from engine.learning.challenge import amount
from engine.learning.data import Rejected, Table, check, gather
from engine.learning.promote import Verdict
from engine.learning.refuse import refuse_unlearnable
from engine.learning.train import selection_score

SHOWN_REJECTS = 5
AMOUNT = "amount"
FIGURES = {
    "R2 train": ("train", "r2", "{:.3f}"),
    "R2": ("test", "r2", "{:.3f}"),
    "RMSE": ("test", "rmse", AMOUNT),
    "MAE": ("test", "mae", AMOUNT),
    "MAPE": ("test", "mape", "{:.1%}"),
    "cover 80 %": ("test", "coverage_80", "{:.1%}"),
    "90 %": ("test", "coverage_90", "{:.1%}"),
    "95 %": ("test", "coverage_95", "{:.1%}"),
    "worst slice": ("test", "worst_slice_coverage_90", "{:.1%}"),
    "width": ("test", "mean_width_90", AMOUNT),
    "Winkler": ("test", "winkler_90", AMOUNT),
}
EVENT_FIGURES = {
    "log loss train": ("train", "log_loss", "{:.4f}"),
    "log loss": ("test", "log_loss", "{:.4f}"),
    "Brier": ("test", "brier", "{:.4f}"),
    "skill": ("test", "skill", "{:.1%}"),
    "calibration error": ("test", "ece", "{:.3f}"),
    "worst slice": ("test", "worst_slice_calibration_error", "{:.3f}"),
    "AUC": ("test", "auc", "{:.3f}"),
    "base rate": ("test", "base_rate", "{:.1%}"),
    "width at 90 %": ("test", "mean_width", "{:.3f}"),
}
"""The calibration error is the expected one; skill the share of the base rate's Brier score."""

console = Console()


def load(
    problem: Problem,
    files: Sequence[Path],
    *,
    layout: str | None,
    reports: Path,
    max_bad_share: float,
) -> Table:
    """The rows of some files that keep the schema; the others go into a report.

    Raises UnusableTable when a file cannot be read or too little is left to learn from.
    """
    source = ", ".join(file.name for file in files)
    columns = gather(problem, files, layout)
    return checked(problem, columns, source, reports=reports, max_bad_share=max_bad_share)


def checked(
    problem: Problem,
    columns: Columns | pd.DataFrame,
    source: str,
    *,
    reports: Path,
    max_bad_share: float,
) -> Table:
    """The rows that keep the schema; raises UnusableTable when too little is left."""
    table, rejected = check(problem, columns, source)
    console.print(f"{source}: {len(table):,} rows to learn from")
    if rejected.rows:
        show_rejected(rejected, reports / "rejected_rows.csv")
    for name, count in rejected.unknown.items():
        console.print(f"{name}: {count:,} rows name an unknown category, taken as missing")
    refuse_unlearnable(problem, table, rejected, max_bad_share=max_bad_share)
    return table


def show_rejected(rejected: Rejected, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.report.to_csv(path, index=False)
    console.print(f"{rejected.rows:,} of {rejected.of:,} rows set aside, all listed in {path}:")
    for finding in rejected.report.head(SHOWN_REJECTS).itertuples():
        console.print(f"  row {finding.row}: {finding.column} {finding.rule}, is {finding.value!r}")


def check_writable(path: Path) -> None:
    """Raises OSError now, rather than after an hour of training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    with tempfile.TemporaryFile(dir=path.parent):
        pass


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


def figures_of(artifact: Artifact) -> dict[str, tuple[str, str, str]]:
    """Label to part of the data, figure and form, as the kind of target has them."""
    if artifact.card.target_kind == BINARY:
        return EVENT_FIGURES
    known = artifact.card.metrics["test"]
    return {label: one for label, one in FIGURES.items() if label != "MAPE" or "mape" in known}


def figure(artifact: Artifact, wanted: tuple[str, str, str]) -> str:
    part, name, form = wanted
    value = artifact.card.metrics[part].get(name)
    if value is None:
        return "too few rows"
    return amount(value) if form == AMOUNT else form.format(value)


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
