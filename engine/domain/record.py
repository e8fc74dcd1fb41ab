"""What was answered, and what then turned out to be true: one id joins the two."""

from dataclasses import dataclass

from engine.domain.schema import Row

CHAMPION, PINNED, FALLBACK, DEGRADED = "champion", "pinned", "fallback", "degraded"
"""Besides the modes of `engine.domain.traffic`: the champion by assignment, a version the caller
named, the champion in place of a variant that failed, and the champion asked about the problem's
fallback row, because the features could not be looked up: nothing is to be learned from that."""


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
