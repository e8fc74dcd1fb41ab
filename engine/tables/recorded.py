"""Rows to learn from: tables in files, predictions whose truth became known, or both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from engine.domain.errors import NothingToJudge
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.record import DEGRADED, Outcome, Record, RecordQuery
from engine.domain.traffic import SHADOW
from engine.domain.version import Version
from engine.tables.moments import are_numbers, as_times
from engine.tables.table import gather

_REPORT = "report outcomes to POST /feedback"
_Kept = tuple[str, str, tuple[object, ...]]
"""When a row was predicted, when its truth was known, and its values. Millions of them are kept:
tuples of plain values are what the garbage collector does not look at again and again."""


@dataclass(frozen=True)
class Sources:
    """Files in a layout, and records from `since` (UTC, ISO 8601) on; at least one of the two."""

    files: Sequence[Path]
    layout: str | None
    records: Records | None
    since: str | None = None

    @property
    def way_out(self) -> str:
        """How to get more rows; appended to a message that there are too few."""
        if self.records is None:
            return ""
        return f"; {_REPORT}" + (
            "" if self.files else ", or add a table: --data FILE --with-records"
        )


@dataclass(frozen=True)
class Gathered:
    """Rows in the problem's columns, where they come from, and a sentence on the records."""

    frame: pd.DataFrame
    source: str
    summary: str = ""


def gathered(problem: Problem, sources: Sources, major: int) -> Gathered:
    """All rows of all sources, those of files first.

    Of the records, those with an outcome that versions of this `major` answered: another one has
    another contract. Raises NothingToJudge when there is nothing.
    """
    names = ", ".join(file.name for file in sources.files)
    if sources.records is None:
        return Gathered(gather(problem, sources.files, sources.layout), names)
    found = recorded(problem, sources.records, major, since=sources.since)
    if not sources.files:
        if found.frame.empty:
            raise NothingToJudge(found.summary)
        return found
    tables = gather(problem, sources.files, sources.layout)
    if found.frame.empty:
        return Gathered(tables, names, found.summary)
    dated = _on_the_clock(tables, start=found.frame["time"].min())
    both = pd.concat([dated, found.frame], ignore_index=True)
    return Gathered(both, f"{names}, {found.source}", found.summary)


def recorded(problem: Problem, records: Records, major: int, *, since: str | None) -> Gathered:
    """One row a prediction with an outcome: features, the truth, and as `time` when it was
    predicted (in seconds). Units are no groups: the next requests come from the same ones."""
    of_contract: dict[str, bool] = {}
    kept: dict[str, _Kept] = {}
    answered = others = 0
    for joined in records.read(RecordQuery(problem.name, since=since)):
        record = joined.record
        if not is_reply(record):
            continue
        answered += 1
        if joined.outcome is None:
            continue
        if record.version not in of_contract:
            of_contract[record.version] = Version.parse(record.version).line[0] == major
        if of_contract[record.version]:
            kept[record.id] = _kept_of(problem, record, joined.outcome)
        else:
            others += 1
    return Gathered(*_described(problem, list(kept.values()), answered, others=others))


def is_reply(record: Record) -> bool:
    """Whether somebody was answered: of a shadow the reply under the same id is the row, and a
    fallback row says nothing."""
    return record.error is None and record.variant not in {SHADOW, DEGRADED}


def _described(
    problem: Problem, kept: Sequence[_Kept], answered: int, *, others: int
) -> tuple[pd.DataFrame, str, str]:
    names = [*problem.schema.names, problem.target.name, "time"]
    frame = pd.DataFrame([values for *_, values in kept], columns=names)
    summary = f"records: {len(kept):,} with outcomes of {answered:,}"
    source = "records"
    if kept:
        first, last = kept[0][0][:10], kept[-1][0][:10]
        known = max(known_at for _, known_at, _ in kept)[:10]
        source = f"records of {first} to {last}"
        summary += f", predicted {first} to {last}, known until {known}"
    if others:
        summary += f"; {others:,} more are of another major version"
    return frame, source, summary


def _kept_of(problem: Problem, record: Record, outcome: Outcome) -> _Kept:
    features = (record.row.get(name) for name in problem.schema.names)
    time = datetime.fromisoformat(record.at).timestamp()
    return record.at, outcome.known_at, (*features, outcome.actual, time)


def _on_the_clock(frame: pd.DataFrame, start: float) -> pd.DataFrame:
    """Rows of files with times that compare with those of records, the first of which is `start`.

    Dates are compared as they are. Numbers have a clock of their own, so those rows, and rows
    without a column `time`, count as older than every record; what is no time stays as it is.
    """
    if "time" not in frame:
        return frame.assign(time=start - 1)
    written = frame["time"]
    times = as_times(written)
    if are_numbers(written):
        times = times - times.max() + start - 1
    return frame.assign(time=times.astype(object).where(times.notna(), written))
