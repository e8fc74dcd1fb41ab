"""Tables as Arrow IPC streams, read and written by nanoarrow, which is imported on first use."""

import io
import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.errors import InvalidInput, MalformedBody, Violation
from engine.domain.schema import Schema
from engine.domain.table import (
    SHOWN_VIOLATIONS,
    Cells,
    ReplyTable,
    Table,
    pointer_to,
    refuse_repeated,
)
from engine.protocols.arrow_messages import Compressed, count_rows

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
_NUMBERS = {
    **{"c": "i1", "s": "<i2", "i": "<i4", "l": "<i8", "C": "u1", "S": "<u2", "I": "<u4"},
    **{"L": "<u8", "e": "<f2", "f": "<f4", "g": "<f8"},
}
"""Arrow's letters for types (C data interface), and numpy's."""
_TEXTS = {"u": "<i4", "U": "<i8"}
"""And the type of their offsets."""
_BOOLEAN, _NOTHING = "b", "n"
_INDICES = frozenset("csilCSIL")
_KNOWN = {*_NUMBERS, *_TEXTS, _BOOLEAN, _NOTHING}
_Gaps = NDArray[np.bool_] | None
_View = Any
"""nanoarrow's view of one array: it has no types."""


def read_arrow(schema: Schema, most_rows: int, body: bytes) -> Table:
    """Of more rows than `most_rows` only the number is told.

    Raises MalformedBody, or InvalidInput for columns whose type is not supported.
    """
    try:
        rows = sum(count_rows(body))
        return Table({}, rows) if rows > most_rows else _read(body)
    except Compressed as error:
        raise MalformedBody("the stream is compressed; send it without compression") from error
    except (ValueError, RuntimeError, struct.error) as error:
        reason = str(error).partition("\n")[0][:200]
        raise MalformedBody(f"the body is no Arrow IPC stream: {reason}") from error


def _read(body: bytes) -> Table:
    """nanoarrow checks offsets and sizes, and raises RuntimeError."""
    from nanoarrow import c_array_stream
    from nanoarrow.ipc import InputStream

    with c_array_stream(InputStream.from_readable(body)) as stream:
        schema = stream.get_schema()
        fields = [schema.child(place) for place in range(schema.n_children)]
        refuse_repeated([field.name for field in fields])
        _refuse_types(fields)
        batches = [batch.view() for batch in stream]
        return Table.of(
            {
                field.name: _joined([_cells(field, batch.child(place)) for batch in batches])
                for place, field in enumerate(fields)
            }
        )


def _refuse_types(fields: Sequence[Any]) -> None:
    wrong = [
        Violation(
            pointer_to(field.name),
            field.name[:100],
            None,
            "unsupported_type",
            "Column should be of integers, floats, booleans or texts, or a dictionary of texts",
        )
        for field in fields
        if not _is_known(field)
    ]
    if wrong:
        raise InvalidInput(wrong[:SHOWN_VIOLATIONS], len(wrong))


def _is_known(field: Any) -> bool:
    if field.dictionary is None:
        return field.format in _KNOWN
    return field.format in _INDICES and field.dictionary.format in _TEXTS


def _joined(parts: Sequence[Cells]) -> Cells:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if not isinstance(part, list)]
    if arrays and len(arrays) == len(parts):
        concatenate: Any = np.ma.concatenate  # it has no types
        joined: NDArray[Any] = concatenate(arrays)
        return joined if np.ma.getmaskarray(joined).any() else np.ma.getdata(joined)
    return list(chain.from_iterable(parts))


def _cells(field: Any, view: _View) -> Cells:
    if field.format == _NOTHING:
        return [None] * view.length
    missing = _missing(view)
    if field.dictionary is not None:
        return _named(field, view, missing)
    if field.format in _TEXTS:
        return _texts(field.format, view)
    if field.format == _BOOLEAN:
        return _with_gaps(_bits(view, 1).tolist(), missing)
    numbers = _array(view, _NUMBERS[field.format], view.length)
    return numbers if missing is None else np.ma.array(numbers, mask=missing)


def _named(field: Any, view: _View, missing: _Gaps) -> list[Any]:
    """Texts that are written once, in a dictionary. Where a cell is missing its place is any."""
    known = _texts(field.dictionary.format, view.dictionary)
    places = _array(view, _NUMBERS[field.format], view.length).astype(np.int64)
    if missing is not None:
        known, places = [*known, None], np.where(missing, len(known), places)
    if ((places < 0) | (places >= len(known))).any():
        raise ValueError("a dictionary lacks a value that is named")
    return [known[place] for place in places.tolist()]


def _texts(format_: str, view: _View) -> list[Any]:
    if not view.length:
        return []
    ends = _array(view, _TEXTS[format_], view.length + 1).tolist()
    data = bytes(view.buffer(2))
    texts = [data[start:end].decode() for start, end in pairwise(ends)]
    return _with_gaps(texts, _missing(view))


def _with_gaps(cells: list[Any], missing: _Gaps) -> list[Any]:
    if missing is None:
        return cells
    gaps = missing.tolist()
    return [None if gap else cell for cell, gap in zip(cells, gaps, strict=True)]


def _missing(view: _View) -> _Gaps:
    has_gaps = view.buffer(0).size_bytes > 0 and view.null_count != 0
    return ~_bits(view, 0) if has_gaps else None


def _bits(view: _View, buffer: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(bytes(view.buffer(buffer)), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")
    return bits[view.offset : view.offset + view.length].astype(bool)


def _array(view: _View, code: str, length: int) -> NDArray[Any]:
    values: NDArray[Any] = np.frombuffer(bytes(view.buffer(1)), code)
    return values[view.offset :][:length]


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
