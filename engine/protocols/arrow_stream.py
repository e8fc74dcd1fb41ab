"""Tables as Arrow IPC streams: read here, written by nanoarrow, which is imported on first use."""

import io
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.errors import InvalidInput, MalformedBody, Violation
from engine.domain.schema import Schema
from engine.domain.table import (
    LONGEST_NAME,
    SHOWN_VIOLATIONS,
    Cells,
    ReplyTable,
    Table,
    pointer_to,
    refuse_repeated,
)
from engine.protocols import arrow_messages as arrow
from engine.protocols.arrow_messages import Batch, Field, UnreadableStream, read_messages

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
_OFFSETS = {arrow.TEXT: "<i4", arrow.LARGE_TEXT: "<i8"}
_KNOWN = {arrow.NULL, arrow.INT, arrow.FLOAT, arrow.BOOL, *_OFFSETS}
_CELLS_A_BYTE, _FREE_CELLS = 8, 1_000_000
"""A stream has more cells than this only where most of them are empty promises."""
_LONGEST_SHARED_TEXT = 1_000
"""Every row may name the same text of a dictionary; longer ones are valid in no column."""
_Dictionaries = dict[int, list[Any]]
_Gaps = NDArray[np.bool_] | None


def read_arrow(schema: Schema, most_rows: int, body: bytes) -> Table:
    """Of more rows than `most_rows` only the number is told.

    Raises MalformedBody, or InvalidInput for columns whose type is not supported.
    """
    try:
        fields, batches = read_messages(body)
        refuse_repeated([field.name for field in fields])
        _refuse_types(fields)
        rows = sum(batch.rows for batch in batches if batch.dictionary is None)
        if rows > most_rows:
            return Table({}, rows)
        if rows * len(fields) > _CELLS_A_BYTE * len(body) + _FREE_CELLS:
            raise ValueError("it promises more cells than it has")
        return _table_of(fields, batches)
    except UnreadableStream as error:
        raise MalformedBody(str(error)) from error
    except (ValueError, struct.error) as error:
        raise MalformedBody(f"the body is no Arrow IPC stream: {error}") from error


def _refuse_types(fields: Sequence[Field]) -> None:
    wrong = [
        Violation(
            pointer_to(field.name),
            field.name[:LONGEST_NAME],
            None,
            "unsupported_type",
            "Column should be of integers, floats, booleans or texts, or a dictionary of texts",
        )
        for field in fields
        if field.type not in (_KNOWN if field.dictionary is None else _OFFSETS)
    ]
    if wrong:
        raise InvalidInput(wrong[:SHOWN_VIOLATIONS], len(wrong))


def _table_of(fields: Sequence[Field], batches: Sequence[Batch]) -> Table:
    texts = {f.dictionary: f.type for f in fields if f.dictionary is not None}
    dictionaries: _Dictionaries = {}
    parts: list[list[Cells]] = [[] for _ in fields]
    for batch in batches:
        if batch.dictionary is None:
            for part, cells in zip(parts, _columns(fields, batch, dictionaries), strict=True):
                part.append(cells)
        else:
            _learn(batch, texts, dictionaries)
    return Table.of({f.name: _joined(part) for f, part in zip(fields, parts, strict=True)})


def _learn(batch: Batch, texts: Mapping[int, int], dictionaries: _Dictionaries) -> None:
    """The values of a dictionary, or more of them."""
    number = batch.dictionary
    if number is None or number not in texts:
        raise ValueError("a dictionary belongs to no column")
    field = Field("", texts[number], "", None)
    (values,) = _columns([field], batch, {})
    if any(value is not None and len(value) > _LONGEST_SHARED_TEXT for value in values):
        raise ValueError(f"a dictionary has a text of more than {_LONGEST_SHARED_TEXT} characters")
    before = dictionaries.get(number, []) if batch.is_delta else []
    dictionaries[number] = [*before, *values]


def _columns(fields: Sequence[Field], batch: Batch, known: _Dictionaries) -> Iterator[Cells]:
    if len(batch.nodes) != len(fields):
        raise ValueError("a batch has another number of columns than the schema")
    buffers = iter(batch.buffers)
    nothing: list[Any] = []
    for field, (length, gaps) in zip(fields, batch.nodes, strict=True):
        if length != batch.rows:
            raise ValueError("a column has another number of rows than its batch")
        if field.type == arrow.NULL:
            nothing = nothing or [None] * length
            yield nothing
            continue
        valid = next(buffers, memoryview(b""))
        missing = ~_bits(valid, length) if gaps and len(valid) else None
        first = next(buffers, memoryview(b""))
        yield _cells(field, missing, (first, buffers), length=length, known=known)


def _cells(
    field: Field,
    missing: _Gaps,
    buffers: tuple[memoryview, Iterator[memoryview]],
    *,
    length: int,
    known: _Dictionaries,
) -> Cells:
    first, more = buffers
    if field.dictionary is not None:
        places = _first(np.frombuffer(first, field.code), length).astype(np.int64)
        return _named(places, known.get(field.dictionary, []), missing)
    if field.type in _OFFSETS:
        ends = _ends_of(first, _OFFSETS[field.type], length)
        return _with_gaps(_texts(ends, bytes(next(more, b""))), missing)
    if field.type == arrow.BOOL:
        return _with_gaps(_bits(first, length).tolist(), missing)
    numbers = _first(np.frombuffer(first, field.code), length)
    return numbers if missing is None else np.ma.array(numbers, mask=missing)


def _named(places: NDArray[np.int64], values: list[Any], missing: _Gaps) -> list[Any]:
    """Texts that are written once. Where a cell is missing its place says nothing."""
    if missing is not None:
        values, places = [*values, None], np.where(missing, len(values), places)
    if ((places < 0) | (places >= len(values))).any():
        raise ValueError("a dictionary lacks a value that is named")
    return [values[place] for place in places.tolist()]


def _ends_of(buffer: memoryview, code: str, length: int) -> list[int]:
    """Where texts begin and end; a column without rows may have no such buffer."""
    if not length and not len(buffer):
        return [0]
    ends: list[int] = _first(np.frombuffer(buffer, code), length + 1).tolist()
    return ends


def _texts(ends: list[int], data: bytes) -> list[Any]:
    if ends[0] < 0 or ends[-1] > len(data) or any(end < start for start, end in pairwise(ends)):
        raise ValueError("a text lies outside of its buffer")
    return [data[start:end].decode() for start, end in pairwise(ends)]


def _with_gaps(cells: list[Any], missing: _Gaps) -> list[Any]:
    if missing is None:
        return cells
    return [None if gap else cell for cell, gap in zip(cells, missing.tolist(), strict=True)]


def _bits(buffer: memoryview, length: int) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return _first(bits, length).astype(bool)


def _first(values: NDArray[Any], length: int) -> NDArray[Any]:
    """A buffer may be longer than it has to be."""
    if len(values) < length:
        raise ValueError("a buffer is too short")
    return values[:length]


def _joined(parts: Sequence[Cells]) -> Cells:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if not isinstance(part, list)]
    if arrays:
        concatenate: Any = np.ma.concatenate  # it has no types
        joined: NDArray[Any] = concatenate(arrays)
        return joined if np.ma.getmaskarray(joined).any() else np.ma.getdata(joined)
    return list(chain.from_iterable(parts))


def write_arrow(reply: ReplyTable) -> bytes:
    """What holds for all rows is a column, too; warnings are lists of texts."""
    import nanoarrow as na
    from nanoarrow.ipc import StreamWriter

    rows = len(reply.warnings)
    columns = {name: _column(cells) for name, cells in reply.columns.items()}
    columns["warnings"] = _lists(reply.warnings)
    columns |= {name: _column([value] * rows) for name, value in reply.facts.items()}
    types = na.struct({name: array.schema for name, array in columns.items()})
    table = na.c_array_from_buffers(types, rows, [None], children=columns.values())
    out = io.BytesIO()
    with StreamWriter.from_writable(out) as writer:
        writer.write_stream(table)
    return out.getvalue()


def _column(cells: Sequence[Any]) -> Any:
    import nanoarrow as na

    rows, types = len(cells), set(map(type, cells))
    if types <= {type(None)}:
        return na.c_array_from_buffers(na.null(), rows, [])
    valid = None
    if type(None) in types:
        valid = np.packbits([cell is not None for cell in cells], bitorder="little")
    if str in types:
        texts = [cell or "" for cell in cells] if valid is not None else cells
        return na.c_array_from_buffers(na.string(), rows, [valid, *_packed(texts)])
    type_, code = (na.float64(), np.float64) if float in types else (na.int64(), np.int64)
    numbers = [cell or 0 for cell in cells] if valid is not None else cells
    return na.c_array_from_buffers(type_, rows, [valid, np.array(numbers, code)])


def _packed(texts: Sequence[str]) -> tuple[NDArray[np.int32], bytes]:
    """Where each text ends, and all of them in a row."""
    joined = "".join(texts)
    sizes = map(len, texts) if joined.isascii() else (len(text.encode()) for text in texts)
    return _ends(sizes), joined.encode()


def _ends(sizes: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(accumulate(sizes, initial=0), np.int32)


def _lists(warnings: Sequence[Sequence[str]]) -> Any:
    import nanoarrow as na

    texts = [*chain.from_iterable(warnings)]
    inner = na.c_array_from_buffers(na.string(), len(texts), [None, *_packed(texts)])
    ends = _ends(map(len, warnings))
    return na.c_array_from_buffers(
        na.list_(na.string()), len(warnings), [None, ends], children=[inner]
    )
