"""Names of scored rows, as records have them: of a block, then of a row in it.

Rows are numbered through, and so many that follow each other are one block, however they are read:
a row that is scored again gets the same name.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.domain.record import row_id

BLOCK_ROWS = 1_000
"""As many as a service answers in one turn: stores read, look up and remove whole blocks."""
_NUMBERS = pa.array([row_id("", number) for number in range(BLOCK_ROWS)])


def block_id(run: str, block: int) -> str:
    """The order of the names is that of the blocks, up to a thousand million rows."""
    return f"{run}-{block:06}"


def row_ids(run: str, first: int, count: int) -> Any:
    """An Arrow column of the rows' names, as `engine.domain.record.row_id` makes them."""
    if not count:
        return pa.array([], pa.string())
    blocks, numbers = np.divmod(np.arange(first, first + count), BLOCK_ROWS)
    names = pa.array([block_id(run, block) for block in range(blocks[0], blocks[-1] + 1)])
    named = names.take(pa.array(blocks - blocks[0]))
    return pc.binary_join_element_wise(named, _NUMBERS.take(pa.array(numbers)), "")
