"""A table of features: rows that keep the schema, and findings on those that break it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.domain.columns import Column
from engine.domain.features import LONGEST_KEY, Features
from engine.domain.problem import Lookup, Problem
from engine.domain.times import utc, written
from engine.tables.batches import Source

_EPOCH = re.compile(r"-?\d{9,19}(\.\d+)?")
_HIGHEST_SECONDS = 1e11
"""A number above it (the year 5138) counts milliseconds, or smaller parts of a second."""
_MILLISECOND = timedelta(microseconds=999)


@dataclass(frozen=True)
class BrokenRule:
    """A broken rule; row 1 is the first of the table."""

    row: int
    column: str
    rule: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.column}: {self.rule}"


@dataclass(frozen=True)
class FeatureBatch:
    """Some rows of a table: what keeps the schema, and what is wrong with the others."""

    rows: int
    features: list[Features]
    findings: list[BrokenRule]

    @property
    def bad_rows(self) -> int:
        return self.rows - len(self.features)


@dataclass(frozen=True)
class FeatureTable:
    """`key` and `time` name columns; without a time every row is known from `since` on."""

    problem: Problem
    source: Source
    key: str
    time: str | None
    since: str

    def parts(self) -> Iterator[FeatureBatch]:
        """Raises UnusableTable when a column is missing or the table cannot be read."""
        columns = self.problem.schema.columns
        times = () if self.time is None else (self.time,)
        wanted = [self.key, *times, *(column.name for column in columns)]
        self.source.require(*wanted)
        many: Any = list
        row_type: TypeAdapter[Any] = TypeAdapter(many[self.problem.schema.row_type("Known")])
        first = 1
        for batch in self.source.batches():
            lines = batch.select(list(dict.fromkeys(wanted))).to_pylist()
            yield self._part(lines, first, row_type)
            first += len(lines)

    def _part(
        self, lines: list[dict[str, Any]], first: int, row_type: TypeAdapter[Any]
    ) -> FeatureBatch:
        rows = [self._row(line) for line in lines]
        findings = [BrokenRule(first + at, *broken) for at, *broken in _broken(row_type, rows)]
        bad = {finding.row for finding in findings}
        features = []
        for number, line, row in zip(count(first), lines, rows, strict=False):
            try:
                named = key_of(line[self.key], self.key)
                at = self.since if self.time is None else self._time(line[self.time])
            except BadCell as error:
                findings.append(BrokenRule(number, error.column, str(error)))
            else:
                if number not in bad:
                    features.append(Features(named, at, row))
        return FeatureBatch(len(lines), features, sorted(findings, key=lambda one: one.row))

    def _row(self, line: dict[str, Any]) -> dict[str, Any]:
        values = ((c.name, _value_of(c, line[c.name])) for c in self.problem.schema.columns)
        return {name: value for name, value in values if value is not None}

    def _time(self, value: Any) -> str:
        try:
            return moment_of(value, later=True)
        except ValueError as error:
            raise BadCell(str(self.time), str(error)) from error


class BadCell(ValueError):
    """An invalid key or time."""

    def __init__(self, column: str, rule: str) -> None:
        super().__init__(rule)
        self.column = column


def _value_of(column: Column, cell: Any) -> Any:
    """What a cell says, None where it is missing; one that cannot be read is left to the schema's
    rules, which refuse it by name."""
    try:
        return column.read(cell)
    except ValueError:
        return cell


def key_of(value: Any, column: str) -> str:
    """Text as it is, and a whole number as its digits; raises BadCell for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "" or value != value:
        raise BadCell(column, "must not be missing")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadCell(column, "must be text or a whole number")
    if len(str(value)) > LONGEST_KEY:
        raise BadCell(column, f"must have at most {LONGEST_KEY} letters")
    return str(value)


@lru_cache(100_000)
def moment_of(value: Any, *, later: bool) -> str:
    """A time as the store holds it: ISO 8601 (UTC where it names no zone), or a number of seconds,
    or of smaller parts of one, since 1970. Between two milliseconds it is the later or the earlier
    one, so that nothing is known before its time. Raises ValueError.
    """
    try:
        moment = _moment(value)
        return written(moment + _MILLISECOND if later else moment)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError("must be an ISO 8601 date or time, or seconds since 1970") from error


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    text = "" if isinstance(value, bool) else str(value).strip()
    if _EPOCH.fullmatch(text) or isinstance(value, float):
        seconds = float(text)
        for _ in ("milliseconds", "microseconds", "nanoseconds"):
            seconds /= 1_000 if abs(seconds) >= _HIGHEST_SECONDS else 1
        return datetime.fromtimestamp(seconds, UTC)
    return _moment(datetime.fromisoformat(text))


def _broken(
    row_type: TypeAdapter[Any], rows: list[dict[str, Any]]
) -> Iterator[tuple[int, str, str]]:
    """Row in the batch, column and rule of what breaks the schema."""
    try:
        row_type.validate_python(rows)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            row, column = found["loc"][:2]
            is_missing = found["type"] == "missing"
            rule = f"{found['msg']}, is {str(found['input'])[:80]!r}"
            yield int(row), str(column), "must not be missing" if is_missing else rule


def simulated_features(problem: Problem, lookup: Lookup, rows: int, *, seed: int) -> list[Features]:
    """The features of simulated keys; what is missing is left out."""
    columns, names = lookup.simulate(rows, seed), problem.schema.names
    cells = (columns[name].tolist() for name in (lookup.key, "at", *names))
    found = []
    for key, at, *values in zip(*cells, strict=True):
        row = zip(names, values, strict=True)
        known = {name: value for name, value in row if value is not None and value == value}
        found.append(Features(key, utc(at), known))
    return found
