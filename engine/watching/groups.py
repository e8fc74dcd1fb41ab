"""Records as columns: which of them are compared, and one figure for each unit.

Rows of one unit resemble each other and are no independent evidence: every quantity is averaged
within the unit first. What a caller pinned, and what the champion answered in place of a variant
that failed, was not assigned by chance and is left out; so is what was answered about a fallback
row, whose truth belongs to features that the service did not know.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.kinds import TargetKind
from engine.domain.record import JoinedRecord, Record
from engine.domain.schema import Matrix, Vector

_Key = tuple[str, str]
"""A version and what it was asked as: champion, or one of the traffic's modes."""


@dataclass(frozen=True, eq=False)
class RecordedAnswers:
    """One version's answers to n rows, (n,) each; NaN is what is not known, or not there.

    kind: of the target, which says what is an answer and how far it is from the truth.
    """

    kind: TargetKind
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
        """An invalid answer for this kind of target is also a failure."""
        return ~self.kind.measure.is_answer(self.value)

    @property
    def has_coverage(self) -> bool:
        return self.kind.measure.has_coverage

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether there is an answer and a truth it can be judged by."""
        return np.asarray(~self.failed & self.kind.measure.is_outcome(self.actual))


def grouped(joined: Iterable[JoinedRecord], keys: Iterable[_Key]) -> dict[_Key, list[JoinedRecord]]:
    """The records of each key, in the order they come in."""
    groups: dict[_Key, list[JoinedRecord]] = {key: [] for key in keys}
    for one in joined:
        group = groups.get((one.record.version, one.record.variant))
        if group is not None:
            group.append(one)
    return groups


def pairs(
    kind: TargetKind, champion: Sequence[JoinedRecord], shadow: Sequence[JoinedRecord]
) -> tuple[RecordedAnswers, RecordedAnswers]:
    """Both answers to each row that both were asked about, in the order of the shadow's."""
    asked: Mapping[str, JoinedRecord] = {one.record.id: one for one in champion}
    both = [(asked[one.record.id], one) for one in shadow if one.record.id in asked]
    units = _numbered(one.record for one, _ in both)
    actual = np.array([_actual_of(*pair) for pair in both], dtype=float)
    old, new = (
        _answers(kind, [pair[side] for pair in both], units, actual=actual) for side in (0, 1)
    )
    return old, new


def columns(kind: TargetKind, group: Sequence[JoinedRecord]) -> RecordedAnswers:
    actual = np.array([_actual_of(one) for one in group], dtype=float)
    return _answers(kind, group, _numbered(one.record for one in group), actual=actual)


def _answers(
    kind: TargetKind, group: Sequence[JoinedRecord], units: NDArray[np.int64], *, actual: Vector
) -> RecordedAnswers:
    records = [one.record for one in group]
    return RecordedAnswers(
        kind,
        units,
        value=np.array([record.value for record in records], dtype=float),
        lower=np.array([record.lower for record in records], dtype=float),
        upper=np.array([record.upper for record in records], dtype=float),
        level=np.array([record.level for record in records], dtype=float),
        latency_us=np.array([record.latency_us for record in records], dtype=float),
        actual=actual,
    )


def _actual_of(*same: JoinedRecord) -> float | None:
    """The truth about one question, from whichever of its records has it."""
    return next((one.outcome.actual for one in same if one.outcome is not None), None)


def _numbered(records: Iterable[Record]) -> NDArray[np.int64]:
    """Which unit each record belongs to, counted from 0."""
    numbers: dict[Hashable, int] = {}
    found = [numbers.setdefault(_unit_of(record), len(numbers)) for record in records]
    return np.array(found, dtype=np.int64)


def _unit_of(record: Record) -> Hashable:
    """What traffic is assigned by: the unit the caller names, else the row's features, where one
    that is missing may be absent or None."""
    if record.unit is not None:
        return record.unit
    return frozenset(item for item in record.row.items() if item[1] is not None)


def per_unit(unit: NDArray[np.int64], *quantities: Vector) -> Matrix:
    """Each quantity's mean within each unit, (quantities, units), over rows where all are known."""
    table = np.array(quantities)
    known = np.isfinite(table).all(axis=0)
    rows = np.bincount(unit[known])
    there = rows > 0
    sums = (np.bincount(unit[known], weights=q)[there] for q in table[:, known])
    return np.array([total / rows[there] for total in sums])


def losses(of: RecordedAnswers) -> Vector:
    """The declared loss of each row, as at the gate."""
    known, found = of.is_known, np.full(len(of), np.nan)
    found[known] = of.kind.measure.loss(of.value[known], of.actual[known])
    return found


def coverage_gap(of: RecordedAnswers) -> Vector:
    """Whether the interval holds the truth, less the level it claims, where there is coverage."""
    known = of.is_known & np.isfinite(of.lower + of.upper) & of.has_coverage
    holds = (of.lower <= of.actual) & (of.actual <= of.upper)
    return np.where(known, holds - of.level, np.nan)


def log_latency(of: RecordedAnswers) -> Vector:
    """Of answers to a single row; batches are not timed row by row."""
    known = ~of.failed & (of.latency_us > 0)
    return np.log(of.latency_us, out=np.full(len(of), np.nan), where=known)
