"""From a file, or a simulation, to rows that keep the schema; what breaks it is set aside."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.domain.columns import Column
from engine.domain.errors import UnusableTable
from engine.domain.problem import Columns, Problem
from engine.domain.schema import Matrix, Target, Vector
from engine.tables.cells import (
    as_groups,
    findings,
    is_blank,
    reading_of,
    reading_of_target,
    timeless,
)
from engine.tables.files import first_line, read_file, tables_in
from engine.tables.moments import as_times, timed

FEWEST_ROWS = 200
_NEARLY_ALL = 0.9


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that keep the schema: (n, features), their target (n,), and who belongs together.

    What is missing is NaN. The target of an event is 1 where it happened, else 0.
    `groups` (n,) are integers; rows of one group stay on one side of every split. `times` (n,)
    are numbers that ascend with time, or None where the table does not say when a row happened.
    """

    rows: Matrix
    target: Vector
    groups: NDArray[np.int64]
    times: Vector | None
    source: str

    def __len__(self) -> int:
        return len(self.target)

    def take(self, at: Any) -> "Table":
        times = None if self.times is None else self.times[at]
        return Table(self.rows[at], self.target[at], self.groups[at], times, self.source)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all numbers: equal tables have equal fingerprints."""
        joined = _plain(self.rows).tobytes() + self.target.tobytes()
        return hashlib.sha256(joined).hexdigest()


def row_hashes(table: Table) -> NDArray[np.uint64]:
    """One number a row (n,), from its features: a choice by this number does not depend on the
    target, so it does not change its distribution."""
    return _hashes(table.rows)


def _hashes(rows: Matrix) -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in _plain(rows))
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _names_of(rows: Matrix, target: Vector) -> NDArray[np.uint64]:
    """A number that identifies each row where the table has no group, (n,): rows with equal numbers
    are copies.

    Equal features mean a copy where nearly all rows differ in them, or where they never come with
    different targets. Where features have few different values, equal features mean nothing, and
    each row gets its own number: if features and target identified rows there, all equal outcomes
    of a cell would be on one side of a split, and no model could be judged by it.
    """
    features = _hashes(rows)
    distinct = len(np.unique(features))
    with_target = len(np.unique(_hashes(np.column_stack((rows, target)))))
    if distinct >= _NEARLY_ALL * len(rows) or distinct == with_target:
        return features
    return np.arange(len(rows), dtype=np.uint64)


def _plain(values: Matrix) -> Matrix:
    """With one NaN pattern: there are many, and equal rows must have equal bytes."""
    return np.where(np.isnan(values), np.nan, values)


@dataclass(frozen=True)
class Rejected:
    """Rows that were set aside: one line for each broken rule; row 1 is the first of the file.

    `unknown` counts the kept rows by the column whose category is not declared: there it counts as
    missing, as it does in serving. `unlabelled` rows have no target: they cannot be learned from,
    but they are no mistakes, and no part of the share.
    """

    report: pd.DataFrame
    rows: int
    of: int
    unknown: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0

    @property
    def share(self) -> float:
        of = self.of - self.unlabelled
        return (self.rows - self.unlabelled) / of if of else 0.0


def translate(problem: Problem, frame: pd.DataFrame, layout: str | None) -> Columns:
    """A foreign table in the problem's columns; raises UnusableTable when it is not that layout."""
    if layout is None:
        return {str(name): frame[name] for name in frame.columns}
    try:
        return problem.layouts[layout].translate(frame)
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableTable(
            f"the table is not in the layout {layout}: {first_line(error)}"
        ) from error


def gather(problem: Problem, files: Sequence[Path], layout: str | None) -> pd.DataFrame:
    """Some files, or all tables of some folders, one below the other, in the problem's columns."""
    tables = []
    for file in tables_in(files):
        table = pd.DataFrame(translate(problem, read_file(file), layout))
        tables.append(timed(table, problem.order, file.name))
    return pd.concat(tables, ignore_index=True)


def check(problem: Problem, columns: Columns | pd.DataFrame, source: str) -> tuple[Table, Rejected]:
    """Split a table into rows that keep the schema and a report on those that break it.

    Raises UnusableTable when a column is missing or what is left cannot be learned from.
    """
    frame = pd.DataFrame(columns).reset_index(drop=True)
    wanted: list[Column | Target] = [*problem.schema.columns, problem.target]
    missing = [column.name for column in wanted if column.name not in frame]
    if missing:
        present = ", ".join(map(str, frame.columns))
        raise UnusableTable(f"{source} lacks {', '.join(missing)}; it has {present}")
    readings = {column.name: reading_of(column) for column in problem.schema.columns}
    readings[problem.target.name] = reading_of_target(problem.target)
    known = pd.DataFrame(
        {name: reading.values(frame[name]) for name, reading in readings.items()}, index=frame.index
    )
    times = as_times(frame["time"]) if "time" in frame else None
    found = [findings(frame[c.name], known[c.name], c, reading=readings[c.name]) for c in wanted]
    if times is not None:
        found.append(timeless(frame["time"], times))
    report = pd.concat(found)
    bad = sorted(set(report["row"]))
    good = known.drop(index=[row - 1 for row in bad])
    rows = problem.schema.encode(_records(good))
    target = good[problem.target.name].to_numpy(dtype=float)
    alone = pd.Series(_names_of(rows, target), index=good.index).astype(str)
    table = Table(
        rows=rows,
        target=target,
        groups=as_groups(frame.loc[good.index], alone),
        times=None if times is None else times[good.index].to_numpy(dtype=float),
        source=source,
    )
    report = report.sort_values(["row", "column"])
    unlabelled = int(is_blank(frame[problem.target.name]).sum())
    return table, Rejected(report, len(bad), len(frame), _unknown_in(problem, good), unlabelled)


def _unknown_in(problem: Problem, good: pd.DataFrame) -> dict[str, int]:
    """How many rows name a category that is not declared, by column, where any do."""
    categories = (c for c in problem.schema.columns if c.categories)
    counts = {
        c.name: int((good[c.name].notna() & ~good[c.name].isin(c.categories)).sum())
        for c in categories
    }
    return {name: count for name, count in counts.items() if count}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
