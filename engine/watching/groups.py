"""Records as columns: which of them are compared, and one figure for each unit.

Rows of one unit resemble each other and are no independent evidence: every quantity is averaged
within the unit first. What a caller pinned, and what the champion answered in place of a variant
that failed, was not assigned by chance and is left out.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.record import Joined, Record
from engine.domain.schema import Matrix, Vector

Key = tuple[str, str]
"""A version and what it was asked as: champion, or one of the traffic's modes."""


@dataclass(frozen=True, eq=False)
class Answers:
    """One version's answers to n rows, (n,) each; NaN is what is not known, or not there."""

    unit: NDArray[np.int64]
    value: Vector
    lower: Vector
    upper: Vector
    level: Vector
    latency_us: Vector
    actual: Vector

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """An answer that is no positive number is a failure, too."""
        return np.asarray(~((self.value > 0) & (self.value < np.inf)))


def grouped(joined: Iterable[Joined], keys: Iterable[Key]) -> dict[Key, list[Joined]]:
    """The records of each key, in the order they come in."""
    groups: dict[Key, list[Joined]] = {key: [] for key in keys}
    for one in joined:
        group = groups.get((one.record.version, one.record.variant))
        if group is not None:
            group.append(one)
    return groups


def pairs(champion: Sequence[Joined], shadow: Sequence[Joined]) -> tuple[Answers, Answers]:
    """Both answers to each row that both were asked about, in the order of the shadow's."""
    asked: Mapping[str, Joined] = {one.record.id: one for one in champion}
    both = [(asked[one.record.id], one) for one in shadow if one.record.id in asked]
    units = numbered(one.record for one, _ in both)
    actual = np.array([actual_of(one) or actual_of(other) for one, other in both], dtype=float)
    old, new = (answers([pair[side] for pair in both], units, actual) for side in (0, 1))
    return old, new


def columns(group: Sequence[Joined]) -> Answers:
    actual = np.array([actual_of(one) for one in group], dtype=float)
    return answers(group, numbered(one.record for one in group), actual)


def answers(group: Sequence[Joined], units: NDArray[np.int64], actual: Vector) -> Answers:
    records = [one.record for one in group]
    return Answers(
        units,
        value=np.array([record.value for record in records], dtype=float),
        lower=np.array([record.lower for record in records], dtype=float),
        upper=np.array([record.upper for record in records], dtype=float),
        level=np.array([record.level for record in records], dtype=float),
        latency_us=np.array([record.latency_us for record in records], dtype=float),
        actual=actual,
    )


def actual_of(joined: Joined) -> float | None:
    return None if joined.outcome is None else joined.outcome.actual


def numbered(records: Iterable[Record]) -> NDArray[np.int64]:
    """Which unit each record belongs to, counted from 0."""
    numbers: dict[Hashable, int] = {}
    found = [numbers.setdefault(unit_of(record), len(numbers)) for record in records]
    return np.array(found, dtype=np.int64)


def unit_of(record: Record) -> Hashable:
    """What traffic is assigned by: the unit the caller names, else the row's features."""
    return record.unit if record.unit is not None else frozenset(record.row.items())


def per_unit(unit: NDArray[np.int64], *quantities: Vector) -> Matrix:
    """Each quantity's mean within each unit, (quantities, units), over rows where all are known."""
    table = np.array(quantities)
    known = np.isfinite(table).all(axis=0)
    rows = np.bincount(unit[known])
    there = rows > 0
    sums = (np.bincount(unit[known], weights=q)[there] for q in table[:, known])
    return np.array([total / rows[there] for total in sums])


def log_error(of: Answers) -> Vector:
    """The declared loss of each row, as at the gate: |log(value) - log(actual)|."""
    known = ~of.failed & (of.actual > 0)
    ratio = np.divide(of.value, of.actual, out=np.ones(len(of)), where=known)
    return np.where(known, np.abs(np.log(ratio)), np.nan)


def coverage_gap(of: Answers) -> Vector:
    """Whether the interval holds the truth, less the level it claims."""
    known = ~of.failed & (of.actual > 0) & np.isfinite(of.lower + of.upper)
    holds = (of.lower <= of.actual) & (of.actual <= of.upper)
    return np.where(known, holds - of.level, np.nan)


def log_latency(of: Answers) -> Vector:
    """Of answers to a single row; batches are not timed row by row."""
    known = ~of.failed & (of.latency_us > 0)
    return np.log(of.latency_us, out=np.full(len(of), np.nan), where=known)
