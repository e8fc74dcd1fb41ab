"""Recorded requests, asked again, and what is found: is every record computed again, or what would
another version have said?"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.domain.errors import ServiceError
from engine.domain.kinds import ByKind, TargetKind
from engine.domain.record import DEGRADED, JoinedRecord, Record
from engine.domain.schema import Matrix, Row, Schema, Vector
from engine.domain.traffic import SHADOW
from engine.model.model import Model

CHUNK_ROWS = 5_000
_FIRST_FEW = 5
_FORM = ByKind(positive=".4f", real=".4g", binary=".4f")
"""How a loss or a distance is printed: a real quantity may be of any size."""
_NORMAL_97_5 = 1.959964
"""Standard errors of a two-sided 95 % interval of a normal distribution."""

Models = Callable[[str], Model | ServiceError]
"""A version to its model, or to the reason why there is none."""


@dataclass(frozen=True, eq=False)
class Replayed:
    """Records that one version answers again; a row (n, 3) is value, lower, upper.

    `truth` (n,) is NaN where no outcome is known, `level` the confidence all of them share.
    """

    version: str
    level: float
    ids: Sequence[str]
    recorded: Matrix
    computed: Matrix
    truth: Vector

    @property
    def equal(self) -> NDArray[np.bool_]:
        """Bit for bit, (n,)."""
        return np.asarray((self.recorded == self.computed).all(axis=1))


@dataclass
class LeftOut:
    """How many records could not be asked about, by reason; `unanswered` of them because their
    version is gone, is refused or cannot answer."""

    reasons: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0

    @property
    def total(self) -> int:
        return self.reasons.total()


def replayed(
    joined: Iterable[JoinedRecord],
    schema: Schema,
    models: Models,
    *,
    version: str | None,
    left_out: LeftOut,
) -> Iterator[Replayed]:
    """Ask every record's own version again, shadows included, or `version` about every reply.

    In chunks, so that any number of records fits into memory.
    """
    for chunk in chunks(joined, CHUNK_ROWS):
        for (name, level), group in _grouped(chunk, schema, version, left_out=left_out).items():
            model = models(name)
            try:
                if isinstance(model, ServiceError):
                    raise model
                yield _ask(model, name, level, group=group, schema=schema)
            except ServiceError as error:
                left_out.reasons[f"{name}: {error}"] += len(group)
                left_out.unanswered += len(group)


def chunks(joined: Iterable[JoinedRecord], rows: int) -> Iterator[list[JoinedRecord]]:
    rest = iter(joined)
    while chunk := list(islice(rest, rows)):
        yield chunk


def _grouped(
    chunk: Sequence[JoinedRecord], schema: Schema, version: str | None, *, left_out: LeftOut
) -> dict[tuple[str, float], list[JoinedRecord]]:
    """The records that one model can answer at once: of one version and one level."""
    groups = defaultdict(list)
    for joined in chunk:
        record = joined.record
        if version is not None and record.variant == SHADOW:
            continue
        if record.error is not None:
            left_out.reasons["an error was recorded, and no answer"] += 1
        elif record.variant == DEGRADED:
            left_out.reasons["the features could not be looked up, and a fallback answered"] += 1
        elif not _fits(record.row, schema):
            left_out.reasons["the features are not those of today's schema"] += 1
        else:
            groups[version or record.version, record.level].append(joined)
    return groups


def _fits(row: Row, schema: Schema) -> bool:
    """Whether today's schema can encode it: no other names, a name where a category is declared and
    a number elsewhere; only what may be missing is absent or None."""
    if not row.keys() <= set(schema.names):
        return False
    values = ((column, row.get(column.name)) for column in schema.columns)
    return all(c.may_be_missing if value is None else c.holds(value) for c, value in values)


def _ask(
    model: Model, version: str, level: float, *, group: Sequence[JoinedRecord], schema: Schema
) -> Replayed:
    records = [joined.record for joined in group]
    said = model.predict(schema.encode([record.row for record in records]), level)
    known = [np.nan if one.outcome is None else one.outcome.actual for one in group]
    return Replayed(
        version=version,
        level=level,
        ids=[record.id for record in records],
        recorded=np.array([_answer(record) for record in records], dtype=np.float64),
        computed=np.column_stack((said.values, said.interval.lower, said.interval.upper)),
        truth=np.array(known, dtype=np.float64),
    )


def _answer(record: Record) -> tuple[float | None, float | None, float | None]:
    """Value and bounds; those of older records did not always hold the value, as today's do."""
    value, lower, upper = record.value, record.lower, record.upper
    if value is None or lower is None or upper is None:
        return value, lower, upper
    return value, min(lower, value), max(upper, value)


@dataclass(frozen=True)
class ReplayFinding:
    """A sentence, a table whose first row is its head, and how many records differ."""

    sentence: str
    table: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    differing: int = 0


@dataclass
class _Tally:
    """How many records came out as they were recorded, and by how much others differ at most.

    `largest` is relative to the larger of the two numbers, over value and bounds.
    """

    rows: int = 0
    differing: int = 0
    largest: float = 0.0
    first: list[str] = field(default_factory=list)

    def add(self, part: Replayed) -> None:
        self.rows += len(part.ids)
        at = np.flatnonzero(~part.equal)
        if not len(at):
            return
        self.differing += len(at)
        old, new = part.recorded[at], part.computed[at]
        scale = np.where(old == new, 1, np.maximum(np.abs(old), np.abs(new)))
        gaps = np.abs(new - old) / scale
        self.largest = max(self.largest, float(gaps.max()))
        self.first += [part.ids[number] for number in at[: _FIRST_FEW - len(self.first)]]


@dataclass
class _VersionComparison:
    """What another version would have said, beside what was answered: sums over rows.

    A width counts beside its value where that is a positive quantity, else as it is.
    """

    kind: TargetKind
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, part: Replayed) -> None:
        value, lower, upper = part.recorded.T
        new, new_lower, new_upper = part.computed.T
        measure = self.kind.measure
        self._sum(
            rows=np.ones_like(value),
            apart=measure.distance(new, value),
            inside=(lower <= new) & (new <= upper),
            width=measure.widths(lower, upper, value),
            new_width=measure.widths(new_lower, new_upper, new),
        )
        truth, known = part.truth, ~np.isnan(part.truth)
        old_error, new_error = (measure.loss(said, truth) for said in (value, new))
        gain = old_error - new_error
        figures = {
            "known": np.ones_like(value),
            "level": np.full_like(value, part.level),
            "error": old_error,
            "new_error": new_error,
            "gain": gain,
            "gain_squared": gain**2,
            "covered": (lower <= truth) & (truth <= upper),
            "new_covered": (new_lower <= truth) & (truth <= new_upper),
        }
        self._sum(**{name: column[known] for name, column in figures.items()})

    def mean(self, name: str, of: str = "rows") -> float:
        return self.sums[name] / self.sums[of]

    @property
    def gain(self) -> tuple[float, float]:
        """By how much its mean loss is lower, and half the width of the 95 % interval of
        that (paired, normal, outcomes taken as independent)."""
        n, mean = self.sums["known"], self.mean("gain", "known")
        variance = max(self.mean("gain_squared", "known") - mean**2, 0.0) / max(n - 1, 1)
        return mean, _NORMAL_97_5 * float(variance**0.5)

    def _sum(self, **columns: Vector | NDArray[np.bool_]) -> None:
        for name, column in columns.items():
            self.sums[name] += float(column.sum())


def recomputed(parts: Iterable[Replayed], left_out: LeftOut) -> ReplayFinding | None:
    """Is every record what its version says again? None where there was nothing to ask."""
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for part in parts:
        tallies[part.version].add(part)
    rows = sum(tally.rows for tally in tallies.values())
    if not rows:
        return None
    table = [["version", "records", "equal", "different", "by at most (relative)"]]
    for version, tally in sorted(tallies.items()):
        counts = (tally.rows, tally.rows - tally.differing, tally.differing)
        table.append([version, *(f"{count:,}" for count in counts), f"{tally.largest:.3g}"])
    notes = [f"{v} differs in {', '.join(t.first)}" for v, t in tallies.items() if t.differing]
    differing = sum(tally.differing for tally in tallies.values())
    which = "records that could be asked" if left_out.total else "records"
    sentence = f"All {rows:,} {which} are computed again to the last bit"
    if differing:
        largest = max(tally.largest for tally in tallies.values())
        sentence = f"{differing:,} of {rows:,} {which} differ, by at most {largest:.3g} (relative)"
    rest = f"; {left_out.total:,} could not" if left_out.total else ""
    return ReplayFinding(f"{sentence}{rest}.", table, notes, differing)


def compared(parts: Iterable[Replayed], version: str, kind: TargetKind) -> ReplayFinding | None:
    """What would this version have said? None where there was nothing to ask. `kind` is the
    target's."""
    seen = _VersionComparison(kind)
    for part in parts:
        seen.add(part)
    if not seen.sums["rows"]:
        return None
    measure, apart, form = kind.measure, seen.mean("apart"), _FORM[kind]
    beside = " / value" if measure.is_log else ""
    table = [
        ["", "recorded", version],
        ["replies", f"{seen.sums['rows']:,.0f}", ""],
        [f"mean {measure.distance_name} of the values", "", f"{apart:{form}}"],
        ["its value lies in the recorded interval", "", f"{seen.mean('inside'):.1%}"],
        [
            f"width of the interval{beside}",
            *_two(seen, "width", "rows", form=".3f" if beside else form),
        ],
        ["with an outcome", f"{seen.sums['known']:,.0f}", ""],
    ]
    by = f"{apart:.1%}" if measure.is_log else f"{apart:{form}}"
    sentence = f"{version} would have said values that differ by {by} on average"
    if seen.sums["known"]:
        table.append([f"mean {measure.loss_name}", *_two(seen, "error", "known", form=form)])
        if measure.has_coverage:
            asked = f"coverage (asked for {seen.mean('level', 'known'):.1%})"
            table.append([asked, *_two(seen, "covered", "known", form=".1%")])
        sentence += f"; {_who_was_right(seen)}"
    return ReplayFinding(f"{sentence}.", table)


def _two(seen: _VersionComparison, name: str, of: str, *, form: str) -> tuple[str, str]:
    """A figure of what was recorded, and of what would have been said."""
    return format(seen.mean(name, of), form), format(seen.mean(f"new_{name}", of), form)


def _who_was_right(seen: _VersionComparison) -> str:
    (gain, half), form = seen.gain, _FORM[seen.kind]
    loss_name = seen.kind.measure.loss_name
    word = "as close to" if abs(gain) <= half else "closer to" if gain > 0 else "further from"
    return (
        f"on {seen.sums['known']:,.0f} outcomes it is {word} the truth, mean {loss_name} "
        f"{abs(gain):{form}} {'lower' if gain >= 0 else 'higher'} (± {half:{form}}, 95 %)"
    )
