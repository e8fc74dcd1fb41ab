"""The training story: read, train every candidate, show how they compare, release the best."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.domain.artifact import Artifact
from engine.domain.features import Features
from engine.domain.history import next_major, next_minor
from engine.domain.ports import Artifacts, Champion
from engine.domain.problem import SIMULATED, Lookup, Problem
from engine.domain.times import utc
from engine.domain.version import Version
from engine.learning.data import Table
from engine.learning.load import checked, load
from engine.learning.picture import write_card
from engine.learning.report import console, progress, show_candidates
from engine.learning.split import split
from engine.learning.train import Origin, train_all


@dataclass(frozen=True)
class Order:
    """What one run is asked to do: learn from a file in some layout, or from simulated rows."""

    data: Path | None
    layout: str | None
    rows: int
    seed: int
    max_bad_share: float
    reports: Path
    who: str
    at: str
    is_major: bool = False


def release(problem: Problem, champion: Champion, artifacts: Artifacts, order: Order) -> None:
    """Register every candidate; the best is champion from now on, whatever was before."""
    champion.adopt(order.who)
    past = champion.history()
    taken = artifacts.versions(problem.name)
    version = (next_major if order.is_major else next_minor)(past, taken)
    (best, *others), judged = candidates(problem, order, version)
    artifacts.save(best)
    for number, other in enumerate(others, start=1):
        artifacts.save(other.named(version.next_minor().candidate(number)))
    why = f"trained on {best.card.data['source']}"
    champion.move("trained", version, who=order.who, why=why, after=len(past))
    console.print(f"registered {', '.join(map(str, artifacts.versions(problem.name)))}")
    console.print(f"saved {champion.place} ({version})")
    page = order.reports / f"{problem.name}-{version}.html"
    write_card(page, problem, best, judged)
    console.print(f"report: {page}")


def candidates(problem: Problem, order: Order, version: Version) -> tuple[list[Artifact], Table]:
    """One artifact a candidate, best first, all under one version for now; and the rows that none
    has seen."""
    table = read(problem, order)
    parts = split(table, order.seed)
    origin = Origin(version, order.at, order.seed)
    artifacts = train_all(problem, table, parts, origin=origin, progress=progress)
    show_candidates(problem, artifacts)
    return artifacts, table.take(parts.test)


def read(problem: Problem, order: Order) -> Table:
    """Raises UnusableTable when there is nothing to learn from, or too little of it is left."""
    if order.data is not None:
        return load(
            problem,
            [order.data],
            layout=order.layout,
            reports=order.reports,
            max_bad_share=order.max_bad_share,
        )
    assert problem.simulate is not None  # noqa: S101 - without one there is a table
    return checked(
        problem,
        problem.simulate(order.rows, order.seed),
        f"{SIMULATED}{order.rows} rows, seed {order.seed}",
        reports=order.reports,
        max_bad_share=order.max_bad_share,
    )


def check_writable(path: Path) -> None:
    """Raises OSError now, rather than after an hour of training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def simulated_features(problem: Problem, lookup: Lookup, rows: int, seed: int) -> list[Features]:
    """The features of simulated keys; what is missing is left out."""
    columns, names = lookup.simulate(rows, seed), problem.schema.names
    cells = (columns[name].tolist() for name in (lookup.key, "at", *names))
    found = []
    for key, at, *values in zip(*cells, strict=True):
        row = zip(names, values, strict=True)
        known = {name: value for name, value in row if value is not None and value == value}
        found.append(Features(key, utc(at), known))
    return found
