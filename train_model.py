"""The training story: read, split, fit, calibrate, evaluate, select, register, report."""

from typing import TYPE_CHECKING

from cli.shared import now, run, say
from cli.train import (
    TrainingOrder,
    asked_problem,
    keep_simulated_features,
    look_at,
    name_of,
    next_in_line,
    training_command,
)
from engine.assemble import export, has_model, open_stores
from engine.domain.problem import Problem
from engine.domain.version import FIRST, Version
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.domain.artifact import Artifact
    from engine.learning.acceptance import Acceptance

_PROMOTED, _NOT_PROMOTED = 0, 10
_WHO = "train_model.py"


@training_command
def train(order: TrainingOrder, settings: Settings) -> int:
    """Train every candidate on a table, show how they compare, keep the best as the champion."""
    if order.served:
        found = [_train_unless_there(name, order, settings) for name in settings.serve]
        is_promoted = all(found)
    elif order.out is not None:
        is_promoted = _train_to_file(order, settings)
    else:
        is_promoted = _train_champion(name_of(order, settings), order, settings)
    return _PROMOTED if is_promoted else _NOT_PROMOTED


def _train_unless_there(name: str, order: TrainingOrder, settings: Settings) -> bool:
    """If there is a model, check it without importing the training code."""
    if has_model(settings, name):
        look_at(name, order, settings)
        return True
    return _train_champion(name, order, settings)


def _train_champion(name: str, order: TrainingOrder, settings: Settings) -> bool:
    """Register every candidate; the best is champion from now on, whatever was before, if its
    intervals hold or that is accepted. Whether it is."""
    from engine.learning.release import promote_trained, register
    from engine.reports.models import write_card
    from engine.reports.terminal import show_shortfall
    from engine.stores.atomic import check_writable

    check_writable(settings.model_of(name))
    problem = asked_problem(name, order, settings)
    stores = open_stores(settings, name)
    with stores.training():
        problem, version, after = next_in_line(problem, stores, order, who=_WHO)
        found, others = _train_candidates(problem, version, order, settings=settings)
        is_promoted = found.holds or order.accept
        trained = [found.artifact, *others]
        best = register(trained, stores.artifacts, version, is_champion=is_promoted)
        if is_promoted:
            promote_trained(stores.champion, best, who=_WHO, after=after)
        say(f"registered {', '.join(map(str, stores.artifacts.versions(name)))}")
        page = settings.reports / f"{name}-{best.card.version}.html"
        write_card(page, problem, best, judged=found.judged)
        say(f"report: {page}")
        if is_promoted:
            say(f"saved {stores.champion.place} ({version})")
        left = f"{best.card.version} is registered"
        show_shortfall(found, is_promoted=is_promoted, left=left)
    if order.data is None:
        keep_simulated_features(problem, order, settings)
    if order.target is not None and is_promoted:
        say(f"serve it: SERVE={name} make serve")
    return is_promoted


def _train_to_file(order: TrainingOrder, settings: Settings) -> bool:
    """Whether the file was written: not where intervals do not hold, unless that is accepted."""
    from engine.reports.terminal import show_shortfall
    from engine.stores.atomic import check_writable

    assert order.out is not None  # noqa: S101
    check_writable(order.out)
    problem = asked_problem(name_of(order, settings), order, settings)
    found, _ = _train_candidates(problem, FIRST, order, settings=settings)
    is_written = found.holds or order.accept
    if is_written:
        export(settings, found.artifact, order.out)
        say(f"saved {order.out} ({FIRST})")
    show_shortfall(found, is_promoted=is_written, left="nothing is written")
    return is_written


def _train_candidates(
    problem: Problem, version: Version, order: TrainingOrder, *, settings: Settings
) -> tuple["Acceptance", list["Artifact"]]:
    """The best candidate, as far as rows that it has not seen confirm what it says, and the others;
    all under one version for now. Raises UnusableTable for a table that cannot be learned from."""
    from engine.learning.acceptance import examine
    from engine.learning.refuse import refuse_unlearnable
    from engine.learning.train import Origin, train_all
    from engine.reports.terminal import progress, show_candidates, show_recalibrated, show_rows
    from engine.tables.split import split
    from engine.tables.table import check

    table, rejected = check(problem, *order.rows_of(problem))
    show_rows(table, rejected, settings.reports)
    refuse_unlearnable(problem, table, rejected, max_bad_share=order.max_bad_share)
    parts = split(table, order.seed)
    origin = Origin(version, now(), order.seed, order.effort)
    trained = train_all(problem, table, parts, origin=origin, progress=progress)
    show_candidates(problem, trained)
    found = examine(problem, table, parts, artifact=trained[0], origin=origin)
    show_recalibrated(found)
    return found, trained[1:]


if __name__ == "__main__":
    run(train)
