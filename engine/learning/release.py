"""The training story: read, train every candidate, show how they compare, release the best."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.domain.artifact import Artifact
from engine.domain.features import Features
from engine.domain.history import candidates_of, next_major, next_minor
from engine.domain.ports import Artifacts, Champion
from engine.domain.problem import SIMULATED, Lookup, Problem
from engine.domain.times import utc
from engine.domain.version import Version
from engine.learning.acceptance import Acceptance, advice, examine
from engine.learning.train import Origin, train_all
from engine.reports.models import write_card
from engine.reports.terminal import console, progress, show_candidates
from engine.tables.loading import checked, load
from engine.tables.split import split
from engine.tables.table import Table


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
    accepts: bool = False
    """Whether a model may be champion whose intervals do not hold."""


def release(problem: Problem, champion: Champion, artifacts: Artifacts, order: Order) -> bool:
    """Register every candidate; the best is champion from now on, whatever was before, if its
    intervals hold or that is accepted. Whether it is."""
    champion.adopt(order.who)
    past = champion.history()
    taken = artifacts.versions(problem.name)
    version = (next_major if order.is_major else next_minor)(past, taken)
    best, others = candidates(problem, order, version)
    may_be = is_accepted(best, order)
    names = candidates_of(version.next_minor() if may_be else version, taken)
    first = best.artifact if may_be else best.artifact.named(next(names))
    for artifact in (first, *(other.named(next(names)) for other in others)):
        artifacts.save(artifact)
    if may_be:
        why = "; ".join(filter(None, (f"trained on {first.card.data['source']}", doubt(best))))
        champion.move("trained", version, who=order.who, why=why, after=len(past))
    console.print(f"registered {', '.join(map(str, artifacts.versions(problem.name)))}")
    page = order.reports / f"{problem.name}-{first.card.version}.html"
    write_card(page, problem, first, best.judged)
    console.print(f"report: {page}")
    if may_be:
        console.print(f"saved {champion.place} ({version})")
    conclude(best, is_promoted=may_be, left=f"{first.card.version} is registered")
    return may_be


def is_accepted(found: Acceptance, order: Order) -> bool:
    return found.artifact.card.shortfall is None or order.accepts


def doubt(found: Acceptance) -> str:
    """What a person accepted, if anything."""
    shortfall = found.artifact.card.shortfall
    return f"accepted although {shortfall}" if shortfall else ""


def conclude(found: Acceptance, *, is_promoted: bool, left: str) -> None:
    """The last line where intervals did not hold: why, what was `left` behind, and the way out."""
    shortfall = found.artifact.card.shortfall
    if shortfall is None:
        return
    even = ", even after calibration on newer rows" if found.is_recalibrated else ""
    said = f"not promoted, {left}: {shortfall}{even}; {advice(found.judged)}, or --accept it"
    if is_promoted:
        said = f"accepted: {shortfall}{even}; /health goes on saying it"
    console.print(said, style="bold yellow", soft_wrap=True, highlight=False)


def candidates(
    problem: Problem, order: Order, version: Version
) -> tuple[Acceptance, list[Artifact]]:
    """The best candidate, as far as rows that it has not seen confirm what it says, and the others;
    all under one version for now."""
    table = read(problem, order)
    parts = split(table, order.seed)
    origin = Origin(version, order.at, order.seed)
    artifacts = train_all(problem, table, parts, origin=origin, progress=progress)
    show_candidates(problem, artifacts)
    found = examine(problem, table, parts, artifacts[0], origin)
    if found.is_recalibrated and found.artifact.card.shortfall is None:
        rows = found.artifact.card.calibration["rows"]
        console.print(
            f"intervals did not hold on the newest rows: {rows:,} of these calibrate now, and on "
            f"the {len(found.judged):,} after them they hold"
        )
    return found, artifacts[1:]


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
