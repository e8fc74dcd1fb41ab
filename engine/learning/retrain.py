"""A challenger by whatever method is asked for, and the release it would become."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.contract import same_contract
from engine.domain.errors import ContractChanged
from engine.domain.history import History
from engine.domain.problem import Problem
from engine.domain.version import Version
from engine.learning.challenge import Trial, challenge, succeed, unseen
from engine.learning.recalibrate import for_shadow, recalibrate
from engine.learning.train import Origin, Progress
from engine.tables.table import Table


@dataclass(frozen=True)
class Method:
    """How a challenger is made: with new trees, or only with new calibration; for a roll-out or to
    be promoted at once."""

    is_recalibration: bool = False
    is_rollout: bool = False
    allows_major: bool = False
    allows_other_library: bool = False


def next_release(
    problem: Problem,
    reigning: Artifact,
    past: History,
    *,
    taken: Sequence[Version],
    method: Method,
) -> Version:
    """Patch for new scores, minor for new trees, major for a new contract."""
    if same_contract(problem, reigning.card):
        next_one = history.next_patch if method.is_recalibration else history.next_minor
        return next_one(past, taken)
    if method.is_recalibration or not method.allows_major:
        raise ContractChanged(
            f"{reigning.card.version} was made for other features, units or target than "
            f"{problem.name} declares today; pass --yes-major for a new major version"
        )
    return history.next_major(past, taken)


def train_and_judge(
    problem: Problem,
    table: Table,
    reigning: Artifact,
    *,
    attempt: int,
    method: Method,
    origin: Origin,
    progress: Progress,
) -> Trial:
    """The challenger and the verdict; raises NothingToJudge when too few rows are new."""
    if not same_contract(problem, reigning.card):
        return succeed(problem, table, origin=origin, progress=progress)
    if method.is_recalibration:
        return recalibrate(
            problem,
            table,
            reigning,
            origin=origin,
            attempt=attempt,
            allows_other_library=method.allows_other_library,
        )
    trial = challenge(problem, table, reigning, origin=origin, attempt=attempt, progress=progress)
    if not method.is_rollout or not problem.target.kind.measure.has_coverage:
        return trial
    return for_shadow(trial, table.take(unseen(table, reigning, origin.seed)[1]), origin)
