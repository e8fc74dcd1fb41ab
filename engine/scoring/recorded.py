"""A scored batch as records, as a service keeps its answers: the one place that knows both."""

from collections.abc import Iterator
from time import sleep
from typing import Any

from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.record import Record
from engine.domain.schema import Row
from engine.scoring.batch import ScoringOrder
from engine.scoring.cells import read_cell

_AT_ONCE = 2_000
"""Rows of one commit: no service that writes to the same records waits for long."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further try."""


def append_batch(records: Records, order: ScoringOrder, batch: Any) -> None:
    """Keep what was answered; the same batch a second time changes nothing, for its ids are there.

    Raises RecordsUnavailable.
    """
    for start in range(0, batch.num_rows, _AT_ONCE):
        _append(records, [*_records_of(order, batch.slice(start, _AT_ONCE))])


def _append(records: Records, some: list[Record]) -> None:
    """Several processes write to one database: it may be busy for a while."""
    for pause in (*_PAUSES, None):
        try:
            records.append(some)
            return
        except RecordsUnavailable:
            if pause is None:
                raise
            sleep(pause)


def _records_of(order: ScoringOrder, batch: Any) -> Iterator[Record]:
    added = (f"{order.prefix}{name}" for name in ("prediction_id", "value", "lower", "upper"))
    facts = zip(*(batch[name].to_pylist() for name in added), strict=True)
    for line, (id_, value, lower, upper) in zip(
        batch.select([*order.schema.names]).to_pylist(), facts, strict=True
    ):
        if id_ is None:
            continue
        yield Record(
            id=id_,
            at=order.at,
            problem=order.artifact.card.problem,
            version=order.version,
            variant=order.variant,
            row=_row_of(order, line),
            value=value,
            lower=lower,
            upper=upper,
            level=order.confidence,
            request_id=order.run,
        )


def _row_of(order: ScoringOrder, line: dict[str, Any]) -> Row:
    """As a service validates it: what is missing is left out."""
    read = (
        (column.name, read_cell(column, line[column.name], is_untyped=order.is_untyped))
        for column in order.schema.columns
    )
    return {name: value for name, value in read if value is not None}
