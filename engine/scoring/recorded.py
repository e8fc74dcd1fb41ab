"""A scored batch as records, as a service keeps its answers: the one place that knows both."""

from time import sleep
from typing import Any

import numpy as np

from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.record import RecordBlock, id_parts
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
        some = batch.slice(start, _AT_ONCE)
        known = some.filter(some[f"{order.prefix}prediction_id"].is_valid())
        if known.num_rows:
            _append(records, _block_of(order, known))


def _append(records: Records, block: RecordBlock) -> None:
    """Several processes write to one database: it may be busy for a while."""
    for pause in (*_PAUSES, None):
        try:
            records.append([block])
            return
        except RecordsUnavailable:
            if pause is None:
                raise
            sleep(pause)


def _block_of(order: ScoringOrder, batch: Any) -> RecordBlock:
    n = batch.num_rows
    ids = [id_parts(one) for one in batch[f"{order.prefix}prediction_id"].to_pylist()]
    value, lower, upper = (
        batch[f"{order.prefix}{name}"].to_numpy() for name in ("value", "lower", "upper")
    )
    return RecordBlock(
        id=ids[0][0],
        at=order.at,
        problem=order.artifact.card.problem,
        version=order.version,
        variant=order.variant,
        level=order.confidence,
        numbers=np.array([number for _, number in ids]),
        rows=[_row_of(order, line) for line in batch.select([*order.schema.names]).to_pylist()],
        values=value,
        lower=lower,
        upper=upper,
        request_ids=[order.run] * n,
        callers=[None] * n,
        units=[None] * n,
    )


def _row_of(order: ScoringOrder, line: dict[str, Any]) -> Row:
    """As a service validates it: what is missing is left out."""
    read = (
        (column.name, read_cell(column, line[column.name], is_untyped=order.is_untyped))
        for column in order.schema.columns
    )
    return {name: value for name, value in read if value is not None}
