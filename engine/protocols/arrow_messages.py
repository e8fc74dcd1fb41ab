"""The messages of an Arrow IPC stream that may be damaged: its fields and its batches.

In Python, because the libraries that read Arrow in C trust a stream: damaged bytes end the process.
Source: Arrow Columnar Format, "Serialization and IPC", with Schema.fbs and Message.fbs.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from engine.protocols.flatbuffer import FlatTable

_CONTINUES = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
"""Types of a message's header."""
NULL, INT, FLOAT, TEXT, BOOL, LARGE_TEXT = 1, 2, 3, 5, 6, 20
"""Types of a field."""
_FLOATS = ("<f2", "<f4", "<f8")


class UnreadableStream(ValueError):
    """The stream is valid, but nothing that is read here; the message says the way out."""


@dataclass(frozen=True)
class Field:
    """A column: `code` is numpy's name of its numbers, or of the places in its dictionary."""

    name: str
    type: int
    code: str
    dictionary: int | None


@dataclass(frozen=True)
class Batch:
    """So many rows: `nodes` are lengths and counts of gaps, `buffers` the bytes of all columns, one
    after the other. `dictionary` names the one that these are the values of; else it is None."""

    rows: int
    nodes: list[tuple[int, int]]
    buffers: list[memoryview]
    dictionary: int | None
    is_delta: bool


def read_messages(stream: bytes) -> tuple[list[Field], list[Batch]]:
    """Raises UnreadableStream, and ValueError or struct.error where the stream is damaged."""
    fields: list[Field] | None = None
    batches = []
    for type_, message, body in _messages(stream):
        header = message.table(2)
        if type_ == _SCHEMA and fields is None:
            if header.number(0, "<h"):
                raise UnreadableStream("the stream is big-endian; send it little-endian")
            fields = [_field_of(field) for field in header.tables(1)]
        elif type_ in (_DICTIONARY, _BATCH) and fields is not None:
            batches.append(_batch_of(type_, header, body))
        else:
            raise ValueError("a message is not one of those expected here")
    if fields is None:
        raise ValueError("there is no schema")
    return fields, batches


def _messages(stream: bytes) -> Iterator[tuple[int, FlatTable, memoryview]]:
    at = 0
    while at < len(stream):
        if stream[at : at + 4] != _CONTINUES:
            raise ValueError("a message does not begin where one should")
        (size,) = struct.unpack_from("<i", stream, at + 4)
        if size == 0:
            return
        at += 8
        if size < 0 or at + size > len(stream):
            raise ValueError("a message is longer than the stream")
        message = FlatTable.root(stream[at : at + size])
        at += size
        length = message.number(3, "<q")
        if not 0 <= length <= len(stream) - at:
            raise ValueError("a body is longer than the stream")
        yield message.number(1, "<B"), message, memoryview(stream)[at : at + length]
        at += length
    raise ValueError("the end is missing")


def _field_of(field: FlatTable) -> Field:
    type_ = field.number(2, "<B")
    if not field.has(4):
        return Field(field.text(0), type_, _code_of(type_, field), None)
    encoding = field.table(4)
    index = _integer(encoding.table(1)) if encoding.has(1) else "<i4"
    return Field(field.text(0), type_, index, encoding.number(0, "<q"))


def _code_of(type_: int, field: FlatTable) -> str:
    if type_ == INT:
        return _integer(field.table(3))
    if type_ == FLOAT:
        precision = field.table(3).number(0, "<h")
        if not 0 <= precision < len(_FLOATS):
            raise ValueError("a float has an odd size")
        return _FLOATS[precision]
    return ""


def _integer(type_: FlatTable) -> str:
    bits = type_.number(0, "<i")
    if bits not in (8, 16, 32, 64):
        raise ValueError("an integer has an odd size")
    return f"<{'i' if type_.number(1, '<B') else 'u'}{bits // 8}"


def _batch_of(type_: int, header: FlatTable, body: memoryview) -> Batch:
    is_dictionary = type_ == _DICTIONARY
    batch = header.table(1) if is_dictionary else header
    if batch.has(3):
        raise UnreadableStream("the stream is compressed; send it without compression")
    rows, nodes, places = batch.number(0, "<q"), batch.pairs(1), batch.pairs(2)
    if rows < 0 or sum(max(size, 0) for _, size in places) > len(body):
        raise ValueError("a batch has more than its body")
    buffers = []
    for start, size in places:
        if start < 0 or size < 0 or start + size > len(body):
            raise ValueError("a buffer lies outside of its body")
        buffers.append(body[start : start + size])
    number = header.number(0, "<q") if is_dictionary else None
    return Batch(rows, nodes, buffers, number, is_dictionary and header.number(2, "<B") > 0)
