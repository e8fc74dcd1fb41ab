"""Recorded requests, asked again: of the version that answered, or of another one."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.errors import ServiceError
from engine.domain.record import DEGRADED, Joined, Record
from engine.domain.schema import Category, Column, Matrix, Row, Schema, Vector
from engine.domain.traffic import SHADOW
from engine.serving.served import ServedModel

CHUNK_ROWS = 5_000

Models = Callable[[str], ServedModel | ServiceError]
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
    joined: Iterable[Joined],
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
        for (name, level), group in grouped(chunk, schema, version, left_out).items():
            model = models(name)
            try:
                if isinstance(model, ServiceError):
                    raise model
                yield ask(model, name, level, group, schema)
            except ServiceError as error:
                left_out.reasons[f"{name}: {error}"] += len(group)
                left_out.unanswered += len(group)


def chunks(joined: Iterable[Joined], rows: int) -> Iterator[list[Joined]]:
    rest = iter(joined)
    while chunk := list(islice(rest, rows)):
        yield chunk


def grouped(
    chunk: Sequence[Joined], schema: Schema, version: str | None, left_out: LeftOut
) -> dict[tuple[str, float], list[Joined]]:
    """What one model can be asked at once: a version and a level."""
    groups = defaultdict(list)
    for joined in chunk:
        record = joined.record
        if version is not None and record.variant == SHADOW:
            continue
        if record.error is not None:
            left_out.reasons["no answer was recorded, but an error"] += 1
        elif record.variant == DEGRADED:
            left_out.reasons["the features could not be looked up, and a fallback answered"] += 1
        elif not fits(record.row, schema):
            left_out.reasons["the features are not those of today's schema"] += 1
        else:
            groups[version or record.version, record.level].append(joined)
    return groups


def fits(row: Row, schema: Schema) -> bool:
    """Whether today's schema can encode it: no other names, a name where a category is declared and
    a number elsewhere; only what may be missing is absent or None."""
    if not row.keys() <= set(schema.names):
        return False
    values = ((column, row.get(column.name)) for column in schema.columns)
    return all(c.may_be_missing if value is None else is_of(c, value) for c, value in values)


def is_of(column: Column, value: Any) -> bool:
    """Whether a value has the column's type: categories are text, numbers are not."""
    return isinstance(value, str) == isinstance(column, Category)


def ask(
    model: ServedModel, version: str, level: float, group: Sequence[Joined], schema: Schema
) -> Replayed:
    records = [joined.record for joined in group]
    said = model.predict(schema.encode([record.row for record in records]), level)
    known = [np.nan if one.outcome is None else one.outcome.actual for one in group]
    return Replayed(
        version=version,
        level=level,
        ids=[record.id for record in records],
        recorded=np.array([answer(record) for record in records], dtype=np.float64),
        computed=np.column_stack((said.values, said.interval.lower, said.interval.upper)),
        truth=np.array(known, dtype=np.float64),
    )


def answer(record: Record) -> tuple[float | None, float | None, float | None]:
    """Value and bounds; those of older records did not always hold the value, as today's do."""
    value, lower, upper = record.value, record.lower, record.upper
    if value is None or lower is None or upper is None:
        return value, lower, upper
    return value, min(lower, value), max(upper, value)
