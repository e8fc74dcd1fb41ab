"""What a replay finds: is every record computed again, what would another version have said?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.domain.loss import LOSS, distance, loss
from engine.domain.schema import BINARY, POSITIVE, REAL, Vector
from engine.serving.replay import LeftOut, Replayed

FIRST_FEW = 5
DISTANCE = {POSITIVE: "|log ratio|", REAL: "|difference|", BINARY: "|difference|"}
FORM = {POSITIVE: ".4f", REAL: ".4g", BINARY: ".4f"}
"""How a loss or a distance is printed: a real quantity may be of any size."""
NORMAL_97_5 = 1.959964
"""Two-sided 95 % of a normal distribution."""


@dataclass(frozen=True)
class Finding:
    """A sentence, a table whose first row is its head, and how many records differ."""

    sentence: str
    table: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    differing: int = 0


@dataclass
class Tally:
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
        self.first += [part.ids[number] for number in at[: FIRST_FEW - len(self.first)]]


@dataclass
class Comparison:
    """What another version would have said, beside what was answered: sums over rows.

    A width counts beside its value where that is a positive quantity, else as it is.
    """

    kind: str
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, part: Replayed) -> None:
        value, lower, upper = part.recorded.T
        new, new_lower, new_upper = part.computed.T
        self._sum(
            rows=np.ones_like(value),
            apart=distance(self.kind, new, value),
            inside=(lower <= new) & (new <= upper),
            width=(upper - lower) / (value if self.kind == POSITIVE else 1.0),
            new_width=(new_upper - new_lower) / (new if self.kind == POSITIVE else 1.0),
        )
        truth, known = part.truth, ~np.isnan(part.truth)
        old_error, new_error = (loss(self.kind, said, truth) for said in (value, new))
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
        return mean, NORMAL_97_5 * float(variance**0.5)

    def _sum(self, **columns: Vector | NDArray[np.bool_]) -> None:
        for name, column in columns.items():
            self.sums[name] += float(column.sum())


def recomputed(parts: Iterable[Replayed], left_out: LeftOut) -> Finding | None:
    """Is every record what its version says again? None where there was nothing to ask."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
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
    return Finding(f"{sentence}{rest}.", table, notes, differing)


def compared(parts: Iterable[Replayed], version: str, kind: str) -> Finding | None:
    """What would this version have said? None where there was nothing to ask. `kind` is the
    target's."""
    seen = Comparison(kind)
    for part in parts:
        seen.add(part)
    if not seen.sums["rows"]:
        return None
    apart, form = seen.mean("apart"), FORM[kind]
    beside = " / value" if kind == POSITIVE else ""
    table = [
        ["", "recorded", version],
        ["replies", f"{seen.sums['rows']:,.0f}", ""],
        [f"mean {DISTANCE[kind]} of the values", "", f"{apart:{form}}"],
        ["its value lies in the recorded interval", "", f"{seen.mean('inside'):.1%}"],
        [f"width of the interval{beside}", *two(seen, "width", "rows", ".3f" if beside else form)],
        ["with an outcome", f"{seen.sums['known']:,.0f}", ""],
    ]
    by = f"{apart:.1%}" if kind == POSITIVE else f"{apart:{form}}"
    sentence = f"{version} would have said values that differ by {by} on average"
    if seen.sums["known"]:
        table.append([f"mean {LOSS[kind]}", *two(seen, "error", "known", form)])
        if kind != BINARY:  # whose bounds are of a probability, which nobody ever sees
            asked = f"coverage (asked for {seen.mean('level', 'known'):.1%})"
            table.append([asked, *two(seen, "covered", "known", ".1%")])
        sentence += f"; {who_was_right(seen)}"
    return Finding(f"{sentence}.", table)


def two(seen: Comparison, name: str, of: str, form: str) -> tuple[str, str]:
    """A figure of what was recorded, and of what would have been said."""
    return format(seen.mean(name, of), form), format(seen.mean(f"new_{name}", of), form)


def who_was_right(seen: Comparison) -> str:
    (gain, half), form = seen.gain, FORM[seen.kind]
    word = "as close to" if abs(gain) <= half else "closer to" if gain > 0 else "further from"
    return (
        f"on {seen.sums['known']:,.0f} outcomes it is {word} the truth, mean {LOSS[seen.kind]} "
        f"{abs(gain):{form}} {'lower' if gain >= 0 else 'higher'} (± {half:{form}}, 95 %)"
    )
