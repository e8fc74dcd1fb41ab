"""Which tables cannot be learned from, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from engine.domain.errors import NothingToJudge, UnusableTable
from engine.domain.problem import Problem
from engine.learning.kinds import LEARNERS
from engine.tables.recorded import Gathered, Sources
from engine.tables.split import Split, folds
from engine.tables.table import FEWEST_ROWS, Rejected, Table

_FEWEST_GROUPS = 50


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
    if len(np.unique(table.groups)) < _FEWEST_GROUPS:
        raise UnusableTable(
            f"{table.source}: fewer than {_FEWEST_GROUPS} groups cannot be split; leave the column "
            "`group` out, or give it more different values"
        )
    empty = list(_missing_everywhere(problem, table))
    if empty:
        raise UnusableTable(
            f"{table.source}: {', '.join(empty)} is missing in every row; fill it, or take it out "
            "of the problem's columns"
        )
    LEARNERS[problem.target.kind].refuse_table(problem, table)


def refuse_parts(problem: Problem, table: Table, parts: Split, *, number: int, seed: int) -> None:
    """Raises UnusableTable when a part of the table is too small or lacks values for its
    purpose; so many folds are learned from."""
    fitted, refuse_part = table.take(parts.fit), LEARNERS[problem.target.kind].refuse_part
    for seen, _ in folds(fitted, number, seed):
        for name in _missing_everywhere(problem, fitted.take(seen)):
            raise UnusableTable(
                f"{table.source}: {name} is missing in every row of a part that is learned from; "
                "add rows that have it, or take it out of the problem's columns"
            )
        refuse_part(problem, fitted.take(seen).target, "learns", source=table.source)
    for rows, work in ((parts.calibration, "calibrates"), (parts.test, "judges")):
        refuse_part(problem, table.target[rows], work, source=table.source)


def _missing_everywhere(problem: Problem, table: Table) -> Iterator[str]:
    for name, values in zip(problem.schema.names, table.rows.T, strict=True):
        if np.isnan(values).all():
            yield name


@contextmanager
def nothing_to_judge_yet(problem: Problem, rows: Gathered, sources: Sources) -> Iterator[None]:
    """Raises NothingToJudge instead of UnusableTable where more outcomes are all it takes."""
    try:
        yield
    except UnusableTable as error:
        if sources.records is None or not _is_too_little(problem, rows, sources):
            raise
        raise NothingToJudge(str(error)) from error


def _is_too_little(problem: Problem, rows: Gathered, sources: Sources) -> bool:
    """Whether more outcomes are all it takes: rows, or of records alone events."""
    if len(rows.frame) < FEWEST_ROWS:
        return True
    has_too_few = LEARNERS[problem.target.kind].has_too_few
    return not sources.files and has_too_few(rows.frame[problem.target.name].to_numpy())
