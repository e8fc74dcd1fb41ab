"""Which tables cannot be learned from, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from engine.domain.errors import NothingToJudge, UnusableTable
from engine.domain.events import rarer
from engine.domain.problem import Problem
from engine.domain.schema import BINARY, Vector
from engine.tables.recorded import Gathered, Sources
from engine.tables.split import Split, folds
from engine.tables.table import FEWEST_ROWS, Rejected, Table

FEWEST_GROUPS = 50
FEWEST_EVENTS = 50
"""Of the rarer class. A fifth of them judges: ten, with which a rate is known to about a third of
itself; of the others half calibrates."""
FEWEST_IN_A_PART = 5


def refuse_unlearnable(
    problem: Problem, table: Table, rejected: Rejected, *, max_bad_share: float
) -> None:
    """Raises UnusableTable when too much was set aside, too little is left, or nothing varies."""
    if rejected.share > max_bad_share:
        bad, of = (count - rejected.unlabelled for count in (rejected.rows, rejected.of))
        raise UnusableTable(
            f"{bad} of {of} rows break the schema, more than the "
            f"{max_bad_share:.1%} that may be set aside"
        )
    if len(table) < FEWEST_ROWS:
        raise UnusableTable(
            f"{table.source} has {len(table)} usable rows; intervals need at least {FEWEST_ROWS}"
        )
    if len(np.unique(table.groups)) < FEWEST_GROUPS:
        raise UnusableTable(
            f"{table.source}: fewer than {FEWEST_GROUPS} groups cannot be split; leave the column "
            "`group` out, or give it more different values"
        )
    empty = list(missing_everywhere(problem, table))
    if empty:
        raise UnusableTable(
            f"{table.source}: {', '.join(empty)} is missing in every row; fill it, or take it out "
            "of the problem's columns"
        )
    if problem.target.kind == BINARY:
        refuse_one_sided(problem, table)
    elif np.ptp(table.target) == 0:
        raise UnusableTable(f"{table.source}: the target is {table.target[0]:g} in every row")


def refuse_one_sided(problem: Problem, table: Table) -> None:
    """Raises UnusableTable when there is one class only, or too little of one."""
    name, few = problem.target.name, rarer(table.target)
    happened = int(table.target.sum())
    if not few:
        raise UnusableTable(
            f"{table.source}: one class only, {name} is {class_name(problem, table.target[0])} in "
            "all rows; add rows of the other class"
        )
    if few < FEWEST_EVENTS:
        rare = class_name(problem, float(2 * happened < len(table)))
        raise UnusableTable(
            f"{table.source}: class imbalance, {name} is {rare} in {few} of {len(table)} rows, and "
            f"probabilities take {FEWEST_EVENTS}; add rows of that class (do not repeat any)"
        )


def class_name(problem: Problem, value: float) -> str:
    labels = problem.target.labels
    return f"{value:g}" if labels is None else labels[int(value)]


def refuse_parts(problem: Problem, table: Table, parts: Split, seed: int) -> None:
    """Raises UnusableTable when a part of the table cannot do its work."""
    fitted = table.take(parts.fit)
    for seen, _ in folds(fitted, seed):
        for name in missing_everywhere(problem, fitted.take(seen)):
            raise UnusableTable(
                f"{table.source}: {name} is missing in every row of a part that is learned from; "
                "add rows that have it, or take it out of the problem's columns"
            )
        if problem.target.kind == BINARY:
            refuse_few(problem, fitted.take(seen).target, "learns", table.source)
    if problem.target.kind == BINARY:
        for rows, work in ((parts.calibration, "calibrates"), (parts.test, "judges")):
            refuse_few(problem, table.target[rows], work, table.source)


def refuse_few(problem: Problem, target: Vector, work: str, source: str) -> None:
    few = rarer(target)
    if few < FEWEST_IN_A_PART:
        raise UnusableTable(
            f"{source}: class imbalance, the part that {work} has {few} rows of the rarer class of "
            f"{problem.target.name}, and it takes {FEWEST_IN_A_PART}; add rows of that class"
        )


def missing_everywhere(problem: Problem, table: Table) -> Iterator[str]:
    for name, values in zip(problem.schema.names, table.rows.T, strict=True):
        if np.isnan(values).all():
            yield name


@contextmanager
def nothing_to_judge_yet(problem: Problem, rows: Gathered, sources: Sources) -> Iterator[None]:
    """Raises NothingToJudge instead of UnusableTable where more outcomes are all it takes."""
    try:
        yield
    except UnusableTable as error:
        if sources.records is None or not is_too_little(problem, rows, sources):
            raise
        raise NothingToJudge(str(error)) from error


def is_too_little(problem: Problem, rows: Gathered, sources: Sources) -> bool:
    """Whether more outcomes are all it takes: rows, or of records alone events."""
    if len(rows.frame) < FEWEST_ROWS:
        return True
    is_event = problem.target.kind == BINARY and not sources.files
    return is_event and rarer(rows.frame[problem.target.name].to_numpy()) < FEWEST_EVENTS
