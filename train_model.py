"""Train every candidate on a table, show how they compare, keep the best as the champion."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from engine.assemble import Stores, open_champion, open_stores
from engine.domain.artifact import Artifact
from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.version import FIRST, Version
from engine.learning.data import Rejected, Table, check, read_file, refuse_unlearnable, translate
from engine.learning.estimators import CANDIDATES
from engine.learning.train import STEPS, Origin, train
from engine.settings import load_settings
from problems import PROBLEMS

ROWS = 20_000
MAX_BAD_SHARE = 0.05
SHOWN_REJECTS = 5
PROBLEM = PROBLEMS["housing"]

console = Console()


def main() -> int:
    arguments = parse()
    try:
        settings = load_settings()
        stores = open_stores(settings)
        version = FIRST if arguments.out else next_version(stores)
        table = load(arguments, reports=settings.data_dir / "reports")
        artifacts = train_all(table, seed=arguments.seed, version=version)
        best = min(artifacts, key=selection_score)
        show(artifacts, best)
        keep(stores, ranked(artifacts, best), out=arguments.out)
    except (ServiceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, InvalidSetting) else 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python train_model.py --data sales.csv --out /tmp/sales.joblib",
    )
    parser.add_argument("--data", type=Path, help="a CSV or Parquet table; default: simulated")
    parser.add_argument(
        "--layout",
        choices=sorted(PROBLEM.layouts),
        help="whose columns the table has; default: ours",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows to simulate ({ROWS})")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (0)")
    parser.add_argument(
        "--max-bad-share",
        type=float,
        default=MAX_BAD_SHARE,
        help=f"stop when more rows than this break the schema ({MAX_BAD_SHARE})",
    )
    parser.add_argument(
        "--out", type=Path, help="write the best here, registering nothing; default: MODEL_PATH"
    )
    return parser.parse_args()


def load(arguments: argparse.Namespace, reports: Path) -> Table:
    """The table to learn from; rows that break the schema go into a report."""
    if arguments.data is None:
        source = f"simulated market, {arguments.rows} rows, seed {arguments.seed}"
        columns = PROBLEM.simulate(arguments.rows, arguments.seed)
    else:
        source = arguments.data.name
        frame = read_file(arguments.data)
        columns = translate(PROBLEM, frame, arguments.layout)
    table, rejected = check(PROBLEM, columns, source)
    console.print(f"{source}: {len(table):,} rows to learn from")
    if rejected.rows:
        report(rejected, reports / "rejected_rows.csv")
    refuse_unlearnable(table, rejected, max_bad_share=arguments.max_bad_share)
    return table


def report(rejected: Rejected, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rejected.report.to_csv(path, index=False)
    console.print(f"{rejected.rows:,} of {rejected.of:,} rows set aside, all listed in {path}:")
    for finding in rejected.report.head(SHOWN_REJECTS).itertuples():
        console.print(f"  row {finding.row}: {finding.column} {finding.rule}, is {finding.value!r}")


def train_all(table: Table, *, seed: int, version: Version) -> list[Artifact]:
    """One artifact a candidate, all under the same release number until one is chosen."""
    trained_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    artifacts = []
    for candidate in CANDIDATES:
        with progress(candidate.algorithm) as tell:
            origin = Origin(version, trained_at, seed)
            artifacts.append(train(PROBLEM, table, candidate, origin=origin, tell=tell))
    return artifacts


@contextmanager
def progress(algorithm: str) -> Iterator[Callable[[str], None]]:
    """A bar that moves with every step of one candidate, and names it."""
    columns = (
        TextColumn("{task.fields[algorithm]:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=STEPS, algorithm=algorithm)

        def tell(step: str) -> None:
            started = bar.tasks[0].description != ""
            bar.update(task, advance=1 if started else 0, description=step)

        yield tell
        bar.update(task, completed=STEPS, description="done")


def selection_score(artifact: Artifact) -> float:
    """Candidates are compared on calibration rows; the test rows only judge."""
    return artifact.card.metrics["calibration"]["winkler_90"]


def ranked(artifacts: list[Artifact], best: Artifact) -> list[Artifact]:
    """The best keeps the release number, the others become candidates for the one after it."""
    others = [artifact for artifact in artifacts if artifact is not best]
    later = Version.parse(best.card.version).next_minor()
    return [best, *(rename(other, later.candidate(n)) for n, other in enumerate(others, start=1))]


def rename(artifact: Artifact, version: Version) -> Artifact:
    return replace(artifact, card=artifact.card.model_copy(update={"version": str(version)}))


def next_version(stores: Stores) -> Version:
    """v1.0.0, or the minor release after the newest; the champion is registered if it was not.

    Raises VersionExists when the champion is not what is registered under its version.
    """
    if stores.champion.stamp() is not None:
        stores.artifacts.save(stores.champion.load())
    known = stores.artifacts.versions(PROBLEM.name)
    released = [version for version in known if not version.is_candidate]
    return released[-1].next_minor() if released else FIRST


def keep(stores: Stores, artifacts: list[Artifact], *, out: Path | None) -> None:
    """Register all and put the first in the champion's place; with `out`, only write that file."""
    if out is not None:
        open_champion(out).replace(artifacts[0])
        console.print(f"saved {out} ({artifacts[0].card.version})")
        return
    for artifact in artifacts:
        stores.artifacts.save(artifact)
        console.print(f"registered {artifact.card.version}, {artifact.card.algorithm}")
    stores.champion.replace(artifacts[0])
    console.print(f"saved {stores.champion.place} ({artifacts[0].card.version})")


FIGURES = {
    "R2 train": ("train", "r2", "{:.3f}"),
    "R2": ("test", "r2", "{:.3f}"),
    "RMSE": ("test", "rmse", "{:,.0f}"),
    "MAE": ("test", "mae", "{:,.0f}"),
    "MAPE": ("test", "mape", "{:.1%}"),
    "cover 80 %": ("test", "coverage_80", "{:.1%}"),
    "90 %": ("test", "coverage_90", "{:.1%}"),
    "95 %": ("test", "coverage_95", "{:.1%}"),
    "worst slice": ("test", "worst_slice_coverage_90", "{:.1%}"),
    "width": ("test", "mean_width_90", "{:,.0f}"),
    "Winkler": ("test", "winkler_90", "{:,.0f}"),
}


def figure(artifact: Artifact, label: str) -> str:
    part, name, form = FIGURES[label]
    return form.format(artifact.card.metrics[part][name])


def show(artifacts: list[Artifact], best: Artifact) -> None:
    unit = PROBLEM.target.unit
    grid = Grid(title=f"on test rows, {unit}; intervals at 90 % where not said", min_width=80)
    for heading in ("", *(artifact.card.algorithm for artifact in artifacts)):
        grid.add_column(heading, justify="right" if heading else "left")
    for label in FIGURES:
        grid.add_row(label, *(figure(artifact, label) for artifact in artifacts))
    console.print(grid)
    console.print(
        f"chosen: {best.card.algorithm}, the lower Winkler score on calibration rows "
        f"({', '.join(f'{selection_score(one):,.0f}' for one in artifacts)} {unit})"
    )


if __name__ == "__main__":
    sys.exit(main())
