"""How a model of each kind of target is made: candidates, fit, calibration, and what refuses it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.domain.errors import NothingToJudge, UnusableTable
from engine.domain.events import rarer
from engine.domain.kinds import POSITIVE, REAL, ByKind
from engine.domain.problem import Problem
from engine.domain.schema import Vector
from engine.learning.estimators import CANDIDATES, EVENT_CANDIDATES, Candidate, Candidates
from engine.learning.fit import (
    MOST_CALIBRATION_EVENTS,
    Fitted,
    Tell,
    fit_event,
    fit_quantity,
    spaced,
)
from engine.tables.table import Table

_FEWEST_EVENTS = 50
"""Of the rarer class. A fifth of them judges: ten, with which a rate is known to about a third of
itself; of the others half calibrates."""
_FEWEST_IN_A_PART = 5


class _Fit(Protocol):
    def __call__(self, table: Table, candidate: Candidate, *, seed: int, tell: Tell) -> Fitted:
        """Raises UnusableTable when there is nothing to learn a distribution from."""


class _RefusePart(Protocol):
    def __call__(self, problem: Problem, target: Vector, work: str, *, source: str) -> None: ...


@dataclass(frozen=True)
class _Learner:
    """What differs between kinds.

    method: how it is calibrated, as the card says it. chosen_by: the cross-fitted figure that
    candidates are compared by. steps: how many steps `fit` reports with so many folds. refuse_table
    and refuse_part raise UnusableTable for a table, and for the targets (n,) of a part of it, that
    are not enough; has_too_few tells whether rows of these targets are too few to learn from.
    calibrating: the rows that calibrate, of those that may. parity_unit: what differences between a
    graph and its source are measured in. recalibrated: the verdict on newer calibration rows.
    """

    method: str
    chosen_by: str
    candidates: Candidates
    steps: Callable[[int], int]
    fit: _Fit
    refuse_table: Callable[[Problem, Table], None]
    refuse_part: _RefusePart
    has_too_few: Callable[[Vector], bool]
    calibrating: Callable[[Table], Table]
    parity_unit: Callable[[Vector], float]
    recalibrated: str


def _refuse_constant(problem: Problem, table: Table) -> None:
    if np.ptp(table.target) == 0:
        raise UnusableTable(f"{table.source}: the target is {table.target[0]:g} in every row")


def _refuse_one_sided(problem: Problem, table: Table) -> None:
    """Raises UnusableTable when there is one class only, or too little of one."""
    name, few = problem.target.name, rarer(table.target)
    happened = int(table.target.sum())
    if not few:
        raise UnusableTable(
            f"{table.source}: one class only, {name} is {_class_name(problem, table.target[0])} in "
            "all rows; add rows of the other class"
        )
    if few < _FEWEST_EVENTS:
        rare = _class_name(problem, float(2 * happened < len(table)))
        raise UnusableTable(
            f"{table.source}: class imbalance, {name} is {rare} in {few} of {len(table)} rows, and "
            f"probabilities need {_FEWEST_EVENTS}; add rows of that class (do not repeat any)"
        )


def _class_name(problem: Problem, value: float) -> str:
    labels = problem.target.labels
    return f"{value:g}" if labels is None else labels[int(value)]


def _refuse_no_part(problem: Problem, target: Vector, work: str, *, source: str) -> None:
    """For a quantity any rows are enough."""


def _refuse_few(problem: Problem, target: Vector, work: str, *, source: str) -> None:
    few = rarer(target)
    if few < _FEWEST_IN_A_PART:
        raise UnusableTable(
            f"{source}: class imbalance, the part that {work} has {few} rows of the rarer class of "
            f"{problem.target.name}, and it takes {_FEWEST_IN_A_PART}; add rows of that class"
        )


def _calibrating_events(kept: Table) -> Table:
    """Raises NothingToJudge where there is one class only, or hardly another."""
    if rarer(kept.target) < _FEWEST_IN_A_PART:
        raise NothingToJudge(
            f"{kept.source}: of {len(kept)} rows that may calibrate, {rarer(kept.target)} are "
            f"of the rarer class, and it takes {_FEWEST_IN_A_PART}"
        )
    return spaced(kept, MOST_CALIBRATION_EVENTS)


def _learner_of_quantity(chosen_by: str, fit: _Fit, unit: Callable[[Vector], float]) -> _Learner:
    return _Learner(
        method="distributional conformal",
        chosen_by=chosen_by,
        candidates=CANDIDATES,
        steps=lambda folds: 3 * folds + 1,
        fit=fit,
        refuse_table=_refuse_constant,
        refuse_part=_refuse_no_part,
        has_too_few=lambda target: False,
        calibrating=lambda kept: kept,
        parity_unit=unit,
        recalibrated="same predictions, and no objection to the new intervals",
    )


def _fit_positive(table: Table, candidate: Candidate, *, seed: int, tell: Tell) -> Fitted:
    return fit_quantity(
        table, candidate, kind=POSITIVE, chosen_by="log_error", seed=seed, tell=tell
    )


def _fit_real(table: Table, candidate: Candidate, *, seed: int, tell: Tell) -> Fitted:
    return fit_quantity(table, candidate, kind=REAL, chosen_by="error", seed=seed, tell=tell)


LEARNERS = ByKind(
    positive=_learner_of_quantity("log_error", _fit_positive, lambda target: 1.0),
    real=_learner_of_quantity("error", _fit_real, lambda target: float(np.abs(target).max())),
    binary=_Learner(
        method="inductive Venn-Abers",
        chosen_by="brier",
        candidates=EVENT_CANDIDATES,
        steps=lambda folds: folds,
        fit=fit_event,
        refuse_table=_refuse_one_sided,
        refuse_part=_refuse_few,
        has_too_few=lambda target: rarer(target) < _FEWEST_EVENTS,
        calibrating=_calibrating_events,
        parity_unit=lambda target: 1.0,
        recalibrated="same scores, and no objection to the new probabilities",
    ),
)
