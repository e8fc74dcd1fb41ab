"""A scored batch as records, as a service keeps its answers: the one place that knows both."""

from collections.abc import Iterator
from time import sleep
from typing import Any

import numpy as np

from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.record import RecordBlock
from engine.domain.rows import MatrixRows, Places
from engine.domain.schema import Row
from engine.scoring.batch import ScoringOrder
from engine.scoring.cells import cells_of, read_cell
from engine.scoring.names import BLOCK_ROWS, block_id

_BLOCKS_AT_ONCE = 10
"""Of one commit: no service that writes to the same records waits for long."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further try."""


def append_batch(records: Records, order: ScoringOrder, batch: Any, *, first: int) -> None:
    """Keep what was answered, from the row with the number `first` on; the same batch a second time
    changes nothing, for its ids are there.

    Raises RecordsUnavailable.
    """
    blocks = [*_blocks_of(order, batch, first)]
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        _append(records, blocks[start : start + _BLOCKS_AT_ONCE])


def _append(records: Records, some: list[RecordBlock]) -> None:
    """Several processes write to one database: it may be busy for a while."""
    for pause in (*_PAUSES, None):
        try:
            records.append(some)
            return
        except RecordsUnavailable:
            if pause is None:
                raise
            sleep(pause)


def _blocks_of(order: ScoringOrder, batch: Any, first: int) -> Iterator[RecordBlock]:
    """Those that have a row with an answer. One that the batch before began goes on here."""
    start = 0
    while start < batch.num_rows:
        block, number = divmod(first + start, BLOCK_ROWS)
        some = batch.slice(start, BLOCK_ROWS - number)
        start += some.num_rows
        has_answer = some[f"{order.prefix}prediction_id"].is_valid()
        numbers = number + np.flatnonzero(has_answer.to_numpy(zero_copy_only=False))
        if len(numbers):
            yield _block(
                order, block_id(order.run, block), numbers, answered=some.filter(has_answer)
            )


def _block(order: ScoringOrder, id_: str, numbers: Places, *, answered: Any) -> RecordBlock:
    values, lower, upper = (
        answered[f"{order.prefix}{name}"].to_numpy() for name in ("value", "lower", "upper")
    )
    return RecordBlock(
        id=id_,
        at=order.at,
        problem=order.artifact.card.problem,
        version=order.version,
        variant=order.variant,
        level=order.confidence,
        numbers=numbers,
        rows=_matrix_rows(order, answered) if order.schema.is_plain else _rows(order, answered),
        values=values,
        lower=lower,
        upper=upper,
        request_ids=[order.run] * len(numbers),
        callers=[None] * len(numbers),
        units=[None] * len(numbers),
    )


def _matrix_rows(order: ScoringOrder, answered: Any) -> MatrixRows:
    """Rows of nothing but numbers, all of them there."""
    columns = (
        cells_of(column, answered[column.name], is_untyped=order.is_untyped).codes
        for column in order.schema.columns
    )
    return MatrixRows(order.schema.names, np.column_stack([*columns]))


def _rows(order: ScoringOrder, answered: Any) -> list[Row]:
    """As a service validates them: what is missing is left out."""
    lines = answered.select([*order.schema.names]).to_pylist()
    return [_row_of(order, line) for line in lines]


def _row_of(order: ScoringOrder, line: dict[str, Any]) -> Row:
    read = (
        (column.name, read_cell(column, line[column.name], is_untyped=order.is_untyped))
        for column in order.schema.columns
    )
    return {name: value for name, value in read if value is not None}
