"""The retraining story: judge a challenger, note the verdict, move the pointer if it is earned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.contract import same_contract
from engine.domain.errors import ContractChanged, NothingToJudge, UnusableTable
from engine.domain.events import rarer
from engine.domain.history import KEPT, History
from engine.domain.ports import Artifacts, Champion
from engine.domain.problem import Problem
from engine.domain.schema import BINARY
from engine.domain.version import Version
from engine.learning.challenge import Trial, challenge, succeed, unseen
from engine.learning.recalibrate import for_shadow, recalibrate
from engine.learning.refuse import FEWEST_EVENTS
from engine.learning.train import Origin
from engine.reports.metrics import side_by_side
from engine.reports.models import write_report
from engine.reports.terminal import console, progress, show_comparison, show_verdict
from engine.tables.loading import checked
from engine.tables.recorded import Gathered, Sources, gathered
from engine.tables.table import FEWEST_ROWS, Table

RollOut = Callable[[Version, str, int], None]
"""A candidate, why, and the length of the history it was decided on."""


@dataclass(frozen=True)
class Order:
    """What one run is asked to do."""

    sources: Sources
    seed: int
    max_bad_share: float
    reports: Path
    who: str
    at: str
    is_dry: bool
    is_recalibration: bool
    allows_major: bool
    allows_other_library: bool
    roll_out: RollOut | None = None
    """What begins a roll-out, in place of a promotion at once."""


def retrain(problem: Problem, champion: Champion, artifacts: Artifacts, order: Order) -> bool:
    """One run from rows to verdict; whether the champion changed.

    Raises what reading, training and moving the pointer raise; nothing is half done then.
    """
    if champion.stamp() is None:
        raise NothingToJudge("there is no champion yet; train one with train_model.py")
    if not order.is_dry:
        champion.adopt(order.who)
    past = champion.history()
    reigning = champion.load()
    taken = artifacts.versions(problem.name)
    release = next_release(problem, reigning, past, taken, order)
    name = next(history.candidates_of(release, taken))
    try:
        table = read(problem, order, major=release.line[0])
        trial = judged(problem, table, reigning, past, Origin(name, order.at, order.seed), order)
    except NothingToJudge as error:
        console.print(f"Keep the champion: {error}{order.sources.way_out}.", style="bold")
        return False
    show(problem, trial, reigning, order)
    if order.is_dry:
        return False
    return conclude(trial, champion, artifacts, release=release, after=len(past), order=order)


def read(problem: Problem, order: Order, major: int) -> Table:
    """The rows of all sources that keep the schema.

    Raises NothingToJudge when too little became known in the records yet, else UnusableTable.
    """
    rows = gathered(problem, order.sources, major)
    if rows.summary:
        console.print(rows.summary)
    try:
        return checked(
            problem,
            rows.frame,
            rows.source,
            reports=order.reports,
            max_bad_share=order.max_bad_share,
        )
    except UnusableTable as error:
        if order.sources.records is None or not is_too_little(problem, rows, order.sources):
            raise
        raise NothingToJudge(str(error)) from error


def is_too_little(problem: Problem, rows: Gathered, sources: Sources) -> bool:
    """Whether more outcomes are all it takes: rows, or of records alone events."""
    if len(rows.frame) < FEWEST_ROWS:
        return True
    is_event = problem.target.kind == BINARY and not sources.files
    return is_event and rarer(rows.frame[problem.target.name].to_numpy()) < FEWEST_EVENTS


def next_release(
    problem: Problem, reigning: Artifact, past: History, taken: Sequence[Version], order: Order
) -> Version:
    """Patch for new scores, minor for new trees, major for a new contract."""
    if same_contract(problem, reigning.card):
        next_one = history.next_patch if order.is_recalibration else history.next_minor
        return next_one(past, taken)
    if order.is_recalibration or not order.allows_major:
        raise ContractChanged(
            f"{reigning.card.version} was made for other features, units or target than "
            f"{problem.name} declares today; a new major version takes --yes-major"
        )
    return history.next_major(past, taken)


def judged(
    problem: Problem,
    table: Table,
    reigning: Artifact,
    past: History,
    origin: Origin,
    order: Order,
) -> Trial:
    attempt = history.attempts(past) + 1
    if not same_contract(problem, reigning.card):
        return succeed(problem, table, origin=origin, progress=progress)
    if order.is_recalibration:
        return recalibrate(
            problem,
            table,
            reigning,
            origin=origin,
            attempt=attempt,
            allows_other_library=order.allows_other_library,
        )
    trial = challenge(problem, table, reigning, origin=origin, attempt=attempt, progress=progress)
    if order.roll_out is None or problem.target.kind == BINARY:
        return trial
    return for_shadow(trial, table.take(unseen(table, reigning, origin.seed)[1]), origin)


def show(problem: Problem, trial: Trial, reigning: Artifact, order: Order) -> None:
    if trial.evidence is not None:
        show_comparison(side_by_side(trial.evidence))
    show_verdict(trial.verdict)
    path = order.reports / f"{problem.name}-{trial.challenger.card.version}.html"
    if not order.is_dry:
        write_report(path, problem, trial, reigning)
        console.print(f"report: {path}")


def conclude(
    trial: Trial,
    champion: Champion,
    artifacts: Artifacts,
    *,
    release: Version,
    after: int,
    order: Order,
) -> bool:
    """Register the challenger; the event in the history is what promotes it, rolls it out, or turns
    it away. Whether the champion changed."""
    candidate = Version.parse(trial.challenger.card.version)
    artifacts.save(trial.challenger)
    who, why = order.who, trial.verdict.sentence
    if not trial.verdict.promote:
        now = history.champion(champion.history())
        assert now is not None  # noqa: S101
        champion.move(KEPT, now, who=who, why=why, after=after, challenger=candidate)
        return False
    if order.roll_out is not None:
        order.roll_out(candidate, why, after)
        console.print(f"roll-out: {candidate} is a shadow now; the next run looks at it")
        return False
    artifacts.save(trial.challenger.named(release))
    follows = champion.move(
        "promoted", release, who=who, why=why, after=after, challenger=candidate
    )
    console.print(f"champion: {release}{'' if follows else f'; {champion.place} is not writable'}")
    return True
