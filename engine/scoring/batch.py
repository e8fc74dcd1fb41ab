"""A batch of a table in, the same batch with predictions out: what every engine runs.

What a row gets depends on nothing but the row, the model and the order: whoever computes it, in
whatever batch, gets the same bits, and a batch that is computed again has the same ids.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.domain.artifact import Artifact
from engine.domain.errors import UnusableTable
from engine.domain.kinds import ByKind
from engine.domain.record import CHAMPION
from engine.domain.schema import Matrix, Schema, Target
from engine.model.model import Model
from engine.scoring.cells import Cells, cells_of
from engine.scoring.names import row_ids

_ASKED_AT_ONCE = 10_000
"""Rows: what the model computes on the way stays in the processor's cache."""
_DECIMALS = 6
"""A service compares a probability with the threshold as it tells it, rounded."""
_Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ScoringOrder:
    """What is asked: all that a process needs to answer.

    `run` names the run, and with a row's number the prediction; `at` is when it began (UTC),
    `variant` as in records. From `threshold` on an event is predicted. `prefix` stands before the
    names of the columns that are added. `is_untyped` where the table's cells are all text.
    """

    schema: Schema
    target: Target
    artifact: Artifact
    confidence: float
    threshold: float
    run: str
    at: str
    variant: str = CHAMPION
    prefix: str = ""
    is_untyped: bool = False

    @property
    def version(self) -> str:
        return self.artifact.card.version

    @property
    def added(self) -> Any:
        """The columns that predictions add to a table, as an Arrow schema."""
        number, text = pa.float64(), pa.string()
        types = dict.fromkeys(("value", "lower", "upper"), number)
        types |= dict.fromkeys(_DECIDED[self.target.kind], text)
        types |= dict.fromkeys(("model_version", "prediction_id", "reason"), text)
        return pa.schema([(f"{self.prefix}{name}", type_) for name, type_ in types.items()])

    def refuse_unfit(self, source: str, columns: Sequence[str]) -> None:
        """Raises UnusableTable for a table without a feature, or with a column that would be added
        to it."""
        missing = [name for name in self.schema.names if name not in columns]
        if missing:
            present = ", ".join(columns)
            raise UnusableTable(f"{source} lacks {', '.join(missing)}; it has {present}")
        twins = [name for name in self.added.names if name in columns]
        if twins:
            raise UnusableTable(
                f"{source} has a column {', '.join(twins)} already: pass --prefix predicted_ to "
                "name what is added otherwise"
            )


_DECIDED: ByKind[tuple[str, ...]] = ByKind(positive=(), real=(), binary=("prediction",))
"""What is said of a row besides value and bounds: of an event whether it is predicted."""


@dataclass
class Tally:
    """How many rows there were, how many of them broke a rule and so have no prediction, and how
    often each rule was broken and each warning was due."""

    rows: int = 0
    bad: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.rows += other.rows
        self.bad += other.bad
        self.rules.update(other.rules)
        self.warnings.update(other.warnings)


class Scorer:
    """A model that is ready to answer an order."""

    def __init__(self, order: ScoringOrder) -> None:
        self.order = order
        self._model = Model.of(order.artifact)

    def score(self, batch: Any, first: int, place: str = "") -> tuple[Any, Tally]:
        """The batch with its predictions, and what there is to tell; `first` is the number of its
        first row, in the whole table or in its `place`."""
        order = self.order
        columns = {
            column.name: cells_of(column, batch[column.name], is_untyped=order.is_untyped)
            for column in order.schema.columns
        }
        reasons = _reasons(columns, batch.num_rows)
        good = None if reasons is None else np.array([reason is None for reason in reasons])
        matrix = np.empty((batch.num_rows, len(columns)))
        for number, found in enumerate(columns.values()):
            matrix[:, number] = found.codes
        asked = matrix if good is None else matrix[good]
        ids = row_ids(f"{order.run}{place}", first, batch.num_rows)
        answer = self._columns(_spread(self._answers(asked), good), ids, good)
        why = pa.nulls(batch.num_rows, pa.string()) if reasons is None else pa.array(reasons)
        fields = pa.schema([*batch.schema.remove_metadata(), *order.added])
        whole = pa.RecordBatch.from_arrays([*batch.columns, *answer, why], schema=fields)
        return whole, self._tally(columns, asked, good)

    def _columns(self, answer: Matrix, ids: Any, good: _Flags | None) -> Iterator[Any]:
        """What is added to a batch, but for the reasons."""
        yield from (pa.array(values, from_pandas=True) for values in answer)
        yield from _DECIDE[self.order.target.kind](self.order, answer[0])
        yield _where(pa.repeat(self.order.version, len(ids)), good)
        yield _where(ids, good)

    def _answers(self, rows: Matrix) -> Matrix:
        """Values and bounds, (3, n)."""
        found = np.empty((3, len(rows)))
        for start in range(0, len(rows), _ASKED_AT_ONCE):
            some = slice(start, start + _ASKED_AT_ONCE)
            values, interval = self._model.predictor.predict(rows[some], self.order.confidence)
            found[:, some] = values, interval.lower, interval.upper
        return found

    def _tally(self, columns: dict[str, Cells], asked: Matrix, good: _Flags | None) -> Tally:
        rows = len(asked) if good is None else len(good)
        tally = Tally(rows, rows - len(asked))
        for found in columns.values():
            tally.rules.update({rule: int(flags.sum()) for flags, rule in found.broken})
            for flags, warning in found.warned:
                tally.warnings[warning] += int((flags if good is None else flags & good).sum())
        outside = ((asked < self._model.low) | (asked > self._model.high)).sum(axis=0)
        for name, count in zip(columns, outside.tolist(), strict=True):
            tally.warnings[f"{name} is outside the range seen in training"] += count
        tally.warnings = +tally.warnings
        return tally


def _reasons(columns: dict[str, Cells], rows: int) -> list[str | None] | None:
    """Why each row has no prediction, None for those that have one; None where all have one."""
    broken = [one for found in columns.values() for one in found.broken]
    if not broken:
        return None
    reasons: list[str | None] = [None] * rows
    for flags, rule in broken:
        for row in np.flatnonzero(flags):
            before = reasons[row]
            reasons[row] = rule if before is None else f"{before}; {rule}"
    return reasons


def _spread(found: Matrix, good: _Flags | None) -> Matrix:
    """Answers (3, rows that were asked about) at their places in (3, n), NaN elsewhere."""
    if good is None:
        return found
    whole = np.full((3, len(good)), np.nan)
    whole[:, good] = found
    return whole


def _where(texts: Any, good: _Flags | None) -> Any:
    return (
        texts if good is None else pc.if_else(pa.array(good), texts, pa.scalar(None, pa.string()))
    )


def _nothing(order: ScoringOrder, values: NDArray[np.float64]) -> list[Any]:
    return []


def _decided(order: ScoringOrder, values: NDArray[np.float64]) -> list[Any]:
    """What the table calls the event, or its absence."""
    other, happens = order.target.labels or ("0", "1")
    is_likely = pa.array(values.round(_DECIMALS) >= order.threshold, mask=np.isnan(values))
    return [pc.if_else(is_likely, happens, other)]


_DECIDE = ByKind(positive=_nothing, real=_nothing, binary=_decided)
