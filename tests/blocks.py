"""Records as blocks of one row."""

from collections.abc import Iterable

from engine.domain.ports import Records
from engine.domain.record import Record, RecordBlock


def put(records: Records, kept: Iterable[Record]) -> None:
    """Append them, each a block of its own."""
    records.append([RecordBlock.of(one) for one in kept])
