"""The retraining story: judge a challenger, note the verdict, move the pointer if it is earned."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.errors import ContractChanged, NothingToJudge
from engine.domain.history import KEPT, History
from engine.domain.ports import Artifacts, Champion
from engine.domain.problem import Problem
from engine.domain.version import Version
from engine.learning.challenge import (
    Trial,
    challenge,
    same_contract,
    side_by_side,
    succeed,
)
from engine.learning.data import Table
from engine.learning.picture import write_report
from engine.learning.recalibrate import recalibrate
from engine.learning.report import console, load, progress, show_comparison, show_verdict
from engine.learning.train import Origin


@dataclass(frozen=True)
class Order:
    """What one run is asked to do."""

    files: Sequence[Path]
    layout: str | None
    seed: int
    max_bad_share: float
    reports: Path
    who: str
    at: str
    is_dry: bool
    is_recalibration: bool
    allows_major: bool
    allows_other_library: bool


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
    table = load(
        problem,
        order.files,
        layout=order.layout,
        reports=order.reports,
        max_bad_share=order.max_bad_share,
    )
    taken = artifacts.versions(problem.name)
    release = next_release(problem, reigning, past, taken, order)
    name = next_candidate(release, taken)
    try:
        trial = judged(problem, table, reigning, past, Origin(name, order.at, order.seed), order)
    except NothingToJudge as error:
        console.print(f"Keep the champion: {error}.", style="bold")
        return False
    show(problem, trial, reigning, order)
    if not order.is_dry:
        conclude(trial, champion, artifacts, release=release, after=len(past), who=order.who)
    return trial.verdict.promote and not order.is_dry


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


def next_candidate(release: Version, taken: Sequence[Version]) -> Version:
    return next(name for name in map(release.candidate, count(1)) if name not in taken)


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
    return challenge(problem, table, reigning, origin=origin, attempt=attempt, progress=progress)


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
    who: str,
) -> None:
    """Register the challenger; the event in the history is what promotes it, or turns it away."""
    candidate = Version.parse(trial.challenger.card.version)
    artifacts.save(trial.challenger)
    reason = trial.verdict.sentence
    if trial.verdict.promote:
        artifacts.save(trial.challenger.named(release))
        follows = champion.move(
            "promoted", release, who=who, why=reason, after=after, challenger=candidate
        )
        console.print(
            f"champion: {release}{'' if follows else f'; {champion.place} is not writable'}"
        )
        return
    now = history.champion(champion.history())
    assert now is not None  # noqa: S101
    champion.move(KEPT, now, who=who, why=reason, after=after, challenger=candidate)
