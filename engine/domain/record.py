"""What was answered, and what then turned out to be true: one id joins the two."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.rows import Places, some, some_rows
from engine.domain.schema import Row, Vector

CHAMPION, PINNED, FALLBACK, DEGRADED = "champion", "pinned", "fallback", "degraded"
"""Besides the modes of `engine.domain.traffic`: the champion by assignment, a version the caller
named, the champion in place of a variant that failed, and the champion asked about the problem's
fallback row, because the features could not be looked up: nothing is to be learned from that."""
_MOST_DIGITS = 9
"""Of the number of a row."""


@dataclass(frozen=True, slots=True)
class Record:
    """One version's answer to one row; versions asked the same question share the id.

    `at` is UTC in ISO 8601 with milliseconds, `level` the confidence of the bounds, `unit` what the
    caller named as the unit of assignment, `latency_us` the model's time where one row was asked.
    Value and bounds are in the target's unit, and None where `error` says why there are none.
    """

    id: str
    at: str
    problem: str
    version: str
    variant: str
    row: Row
    value: float | None
    lower: float | None
    upper: float | None
    level: float
    request_id: str
    caller: str | None = None
    unit: str | None = None
    latency_us: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordBlock:
    """One version's answers to n rows that were asked in one turn, by one caller or by several, in
    columns: one item a row.

    `numbers` (n,) tell which rows of the turn these are: a row's id is `row_id(id, number)`, the
    same for every version that was asked about it. Values and bounds are None where `error` says
    why there are none. `latency_us` is the model's time where one row was asked.
    """

    id: str
    at: str
    problem: str
    version: str
    variant: str
    level: float
    numbers: Places
    rows: Sequence[Row]
    values: Vector | None
    lower: Vector | None
    upper: Vector | None
    request_ids: Sequence[str]
    callers: Sequence[str | None]
    units: Sequence[str | None]
    latency_us: float | None = None
    error: str | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, record: Record) -> "RecordBlock":
        """The block of one record; raises ValueError when its id is no id of a row."""
        whole, number = id_parts(record.id)
        if number is None:
            raise ValueError(f"{record.id!r} does not end with the number of a row")
        return cls(
            id=whole,
            at=record.at,
            problem=record.problem,
            version=record.version,
            variant=record.variant,
            level=record.level,
            numbers=np.array([number]),
            rows=[record.row],
            values=_vector(record.value),
            lower=_vector(record.lower),
            upper=_vector(record.upper),
            request_ids=[record.request_id],
            callers=[record.caller],
            units=[record.unit],
            latency_us=record.latency_us,
            error=record.error,
        )

    def take(self, places: Places) -> "RecordBlock":
        """Only the rows at these places."""
        return replace(
            self,
            numbers=self.numbers[places],
            rows=some_rows(self.rows, places),
            values=None if self.values is None else self.values[places],
            lower=None if self.lower is None else self.lower[places],
            upper=None if self.upper is None else self.upper[places],
            request_ids=some(self.request_ids, places),
            callers=some(self.callers, places),
            units=some(self.units, places),
        )

    def ids(self) -> list[str]:
        """One a row."""
        return row_ids(self.id, self.numbers.tolist())

    def records(self) -> Iterator[Record]:
        """One a row, in the order of the block."""
        none = [None] * len(self)
        columns = zip(
            self.ids(),
            self.rows,
            none if self.values is None else self.values.tolist(),
            none if self.lower is None else self.lower.tolist(),
            none if self.upper is None else self.upper.tolist(),
            self.request_ids,
            self.callers,
            self.units,
            strict=True,
        )
        for id_, row, value, lower, upper, request_id, caller, unit in columns:
            yield Record(
                id=id_,
                at=self.at,
                problem=self.problem,
                version=self.version,
                variant=self.variant,
                row=row,
                value=value,
                lower=lower,
                upper=upper,
                level=self.level,
                request_id=request_id,
                caller=caller,
                unit=unit,
                latency_us=self.latency_us,
                error=self.error,
            )


def row_id(block_id: str, number: int) -> str:
    """The id of one row of a block."""
    return f"{block_id}-{number}"


def row_ids(block_id: str, numbers: Iterable[int]) -> list[str]:
    """Those of many rows of a block."""
    return [f"{block_id}-{number}" for number in numbers]


def id_parts(row_id: str) -> tuple[str, int | None]:
    """The id of the block and the number of the row; no number where it is no id of a row."""
    whole, dash, number = row_id.rpartition("-")
    is_number = dash and number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS
    if not is_number or (number[0] == "0" and number != "0"):
        return row_id, None
    return whole, int(number)


def _vector(value: float | None) -> Vector | None:
    return None if value is None else np.array([value], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The truth about one prediction, in the target's unit, and when it became known (UTC)."""

    prediction_id: str
    actual: float
    known_at: str


@dataclass(frozen=True, slots=True)
class JoinedRecord:
    """A record with its outcome, as soon as there is one."""

    record: Record
    outcome: Outcome | None


@dataclass(frozen=True)
class RecordQuery:
    """Which records are wanted: `since` inclusive, `until` exclusive; None is no limit.

    `newest` keeps only so many of the latest; the answer is in the order of time all the same.
    `with_outcome` leaves out the others; then `newest` means the latest of all outcomes of the
    problem, by the ids of their predictions, which begin with the time. Without `with_rows` a
    record whose unit is named has an empty row: features are most of what is read.
    """

    problem: str
    since: str | None = None
    until: str | None = None
    with_outcome: bool = False
    with_rows: bool = True
    newest: int | None = None

    def spans(self, one: Record | RecordBlock) -> bool:
        """Whether it is of the problem and the time asked for."""
        return (
            one.problem == self.problem
            and (self.since is None or self.since <= one.at)
            and (self.until is None or one.at < self.until)
        )
