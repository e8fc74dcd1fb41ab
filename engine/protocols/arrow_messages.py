"""The messages of an Arrow IPC stream, looked at before a byte of them is decoded.

A few bytes can promise more rows than fit into memory, and compressed ones keep such a promise; so
rows are counted and compression is found here. Source: Arrow Columnar Format, "Encapsulated message
format" and "Serialization and IPC", with Message.fbs; flatbuffers' binary format.
"""

import struct
from collections.abc import Iterator

_CONTINUES = b"\xff\xff\xff\xff"
_DICTIONARY, _BATCH = 2, 3
"""Types of a message's header that have a body."""
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_ROWS, _COMPRESSION = 0, 3
_DATA = 1
"""Slots of the tables Message, RecordBatch and DictionaryBatch."""


class Compressed(ValueError):
    """A batch is compressed."""


def count_rows(stream: bytes) -> list[int]:
    """The rows of each record batch.

    Raises Compressed, and ValueError or struct.error where the stream is damaged or has no end.
    """
    return [rows for type_, rows in _batches(stream) if type_ == _BATCH]


def _batches(stream: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while True:
        if stream[at : at + 4] != _CONTINUES:
            raise ValueError("a message does not begin where one should, or the end is missing")
        (size,) = struct.unpack_from("<i", stream, at + 4)
        if size == 0:
            return
        if size < 0 or at + 8 + size > len(stream):
            raise ValueError("a message is longer than the stream")
        message = stream[at + 8 : at + 8 + size]
        root = _follow(message, 0)
        body = _number("<q", message, _field(message, root, _BODY_LENGTH))
        if body < 0 or at + 8 + size + body > len(stream):
            raise ValueError("a body is longer than the stream")
        yield from _batch_of(message, root)
        at += 8 + size + body


def _batch_of(message: bytes, root: int) -> Iterator[tuple[int, int]]:
    type_ = _number("<B", message, _field(message, root, _HEADER_TYPE))
    if type_ not in (_DICTIONARY, _BATCH):
        return
    batch = _table(message, root, _HEADER)
    if type_ == _DICTIONARY:
        batch = _table(message, batch, _DATA)
    if _field(message, batch, _COMPRESSION):
        raise Compressed
    yield type_, _number("<q", message, _field(message, batch, _ROWS))


def _field(message: bytes, table: int, slot: int) -> int:
    """Where a field of a table is; 0 where it has its default."""
    vtable = table - _number("<i", message, table)
    (size,) = struct.unpack_from("<H", message, _inside(vtable))
    place = 4 + 2 * slot
    if place >= size:
        return 0
    (offset,) = struct.unpack_from("<H", message, vtable + place)
    return table + offset if offset else 0


def _table(message: bytes, table: int, slot: int) -> int:
    place = _field(message, table, slot)
    if not place:
        raise ValueError("a message lacks its contents")
    return _follow(message, place)


def _follow(message: bytes, place: int) -> int:
    (offset,) = struct.unpack_from("<I", message, place)
    return place + int(offset)


def _number(code: str, message: bytes, place: int) -> int:
    """A field that has its default is 0."""
    if not place and code != "<i":
        return 0
    (number,) = struct.unpack_from(code, message, _inside(place))
    return int(number)


def _inside(place: int) -> int:
    """struct counts a negative place from the end."""
    if place < 0:
        raise ValueError("an offset leads out of the message")
    return place
