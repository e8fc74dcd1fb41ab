"""The retraining story: gather, judge, promote or keep."""

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cli.retrain import RetrainingOrder, retraining_command
from cli.rollback import roll_back
from cli.rollout import roll_out, rollout_command
from cli.shared import now, run, say
from engine.assemble import Stores, open_records, open_stores
from engine.domain.errors import InvalidSetting, NothingToJudge
from engine.domain.history import attempts, candidates_of
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.version import Version
from engine.settings import Settings
from engine.watching.controller import RolloutController

if TYPE_CHECKING:
    from engine.domain.artifact import Artifact
    from engine.learning.challenge import Trial
    from engine.tables.recorded import Sources
    from engine.tables.table import Table

_PROMOTED, _KEPT_CHAMPION = 0, 10
_WHO = "retrain.py"


@dataclass(frozen=True)
class _Run:
    """What is asked for, of which problem, and what it reads from and writes to."""

    order: RetrainingOrder
    settings: Settings
    problem: Problem
    stores: Stores
    records: Records


def _retrain_problem(order: RetrainingOrder, settings: Settings, problem: Problem) -> int:
    """Challenge the champion with newer rows: promote what is honestly better, else say why not."""
    stores = open_stores(settings, problem.name)
    if order.rollback is not None:
        roll_back(stores, order.rollback, _WHO)
        return _PROMOTED
    with stores.training(), closing(open_records(settings)) as records:
        this = _Run(order, settings, problem, stores, records)
        if not order.rollout:
            changed = _challenge_champion(this)
        elif settings.records == "off":
            raise InvalidSetting("RECORDS is off, and a roll-out needs records; turn RECORDS on")
        else:
            controller = RolloutController(problem, stores.champion, stores.artifacts, _WHO)
            changed = roll_out(
                order, controller, records, challenge=partial(_challenge_champion, this, controller)
            )
    return _PROMOTED if changed else _KEPT_CHAMPION


def _challenge_champion(this: _Run, controller: RolloutController | None = None) -> bool:
    """Train a challenger, judge it beside the champion, promote it or keep the champion; whether
    the champion changed. With a controller, what is better begins a roll-out instead.

    Raises what reading, training and moving the pointer raise; nothing is half done then.
    """
    from engine.learning.retrain import Method, next_release, train_and_judge
    from engine.learning.train import Origin
    from engine.reports.terminal import progress, show_trial
    from engine.tables.recorded import Sources

    order, champion, artifacts = this.order, this.stores.champion, this.stores.artifacts
    if champion.revision() is None:
        raise NothingToJudge("there is no champion yet; train one with train_model.py")
    if not order.dry_run:
        champion.adopt(_WHO)
    past, reigning = champion.history(), champion.load()
    taken = artifacts.versions(this.problem.name)
    method = Method(order.recalibrate, controller is not None, order.yes_major, order.other_library)
    release = next_release(this.problem, reigning, past, taken=taken, method=method)
    read = this.records if order.uses_records else None
    effort = order.effort or reigning.card.effort
    sources = Sources(order.data, order.layout, read, order.since)
    try:
        trial = train_and_judge(
            this.problem,
            _gather_rows(this, sources, release.line[0]),
            reigning,
            attempt=attempts(past) + 1,
            method=method,
            origin=Origin(next(candidates_of(release, taken)), now(), order.seed, effort),
            progress=progress,
        )
    except NothingToJudge as error:
        say(f"Keep the champion: {error}{sources.way_out}.", style="bold")
        return False
    show_trial(trial)
    return not order.dry_run and _act_on_verdict(
        this, trial, reigning, controller=controller, release=release, after=len(past)
    )


def _gather_rows(this: _Run, sources: "Sources", major: int) -> "Table":
    """The rows of all sources that keep the schema.

    Raises NothingToJudge when the records have too few outcomes yet, else UnusableTable.
    """
    from engine.learning.refuse import nothing_to_judge_yet, refuse_unlearnable
    from engine.reports.terminal import show_rows
    from engine.tables.recorded import gathered
    from engine.tables.table import check

    rows = gathered(this.problem, sources, major)
    if rows.summary:
        say(rows.summary)
    with nothing_to_judge_yet(this.problem, rows, sources):
        table, rejected = check(this.problem, rows.frame, rows.source)
        show_rows(table, rejected, this.settings.reports)
        share = this.order.max_bad_share
        refuse_unlearnable(this.problem, table, rejected, max_bad_share=share)
    return table


def _act_on_verdict(
    this: _Run,
    trial: "Trial",
    reigning: "Artifact",
    *,
    controller: RolloutController | None,
    release: Version,
    after: int,
) -> bool:
    """Register the challenger; the event in the history is what promotes it, rolls it out, or turns
    it away. Whether the champion changed."""
    from engine.learning.release import promote_challenger, turn_away
    from engine.reports.models import write_report

    champion, artifacts, challenger = this.stores.champion, this.stores.artifacts, trial.challenger
    page = this.settings.reports / f"{this.problem.name}-{challenger.card.version}.html"
    write_report(page, this.problem, trial, champion=reigning)
    say(f"report: {page}")
    artifacts.save(challenger)
    why = trial.verdict.sentence
    if not trial.verdict.promote:
        turn_away(champion, challenger, who=_WHO, why=why, after=after)
        return False
    if controller is not None:
        candidate = Version.parse(challenger.card.version)
        controller.start(candidate, why, after)
        say(f"roll-out: {candidate} is a shadow now; the next run looks at it")
        return False
    artifacts.save(challenger.named(release))
    follows = promote_challenger(champion, challenger, release, who=_WHO, why=why, after=after)
    say(f"champion: {release}{'' if follows else f'; {champion.place} is not writable'}")
    return True


retrain = retraining_command(_retrain_problem)
rollout = rollout_command(_retrain_problem)

if __name__ == "__main__":
    run(retrain)
