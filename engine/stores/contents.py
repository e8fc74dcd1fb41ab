"""What a block of records says, as bytes: a line of JSON, numbers as they are, then other JSON.

The line (`_head`) tells what follows it. First come values, lower and upper bounds, float64. Then
the features: `matrix` are the names of columns that hold nothing but floats, row by row; `columns`
tell the type of each column, one after the other; otherwise, or where rows are few, they are JSON.
All numbers are little-endian. Callers, requests and units are written once for all neighbours that
share them.
"""

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from struct import Struct, unpack_from
from typing import Any

import numpy as np
import orjson

from engine.domain.record import RecordBlock
from engine.domain.rows import MatrixRows
from engine.domain.schema import Row, Vector

_FORMAT = 1
_SAID = ("values", "lower", "upper")
_DOUBLE, _JSON = "d", "j"
_WHOLE = {"b": 7, "h": 15, "i": 31, "q": 63}
"""Codes of `array`, and how many bits they have besides the sign."""
_TYPES = {code: np.dtype(code).newbyteorder("<") for code in (_DOUBLE, *_WHOLE)}
_FEW = 4
"""Rows up to which JSON is as short as names with columns, and read in less time."""
_THREE = Struct("<3d")
_SHARED = {"request_id": "request_ids", "caller": "callers", "unit": "units"}
_ALONE = {
    "row": "rows",
    "value": "values",
    "lower": "lower",
    "upper": "upper",
    "request_id": "request_ids",
    "caller": "callers",
    "unit": "units",
}
_Features = tuple[dict[str, Any], list[bytes]]
"""What the head says of them, and their bytes."""


def packed(block: RecordBlock) -> bytes:
    """Everything but what a table has columns for; raises ValueError for what is no JSON."""
    try:
        about, features = _features(block.rows)
        head = orjson.dumps(_head(block) | about)
        said = (getattr(block, name) for name in _SAID)
        columns = [np.asarray(one, "<f8").tobytes() for one in said if one is not None]
        return b"".join((head, b"\n", *columns, *features))
    except TypeError as error:
        raise ValueError(f"it cannot be written: {error}") from error


def _head(block: RecordBlock) -> dict[str, Any]:
    """What most blocks lack is left out."""
    head: dict[str, Any] = {"format": _FORMAT, "level": block.level}
    for name, column in _SHARED.items():
        shared = _shared(getattr(block, column))
        if shared is not None:
            head[name] = shared
    if block.latency_us is not None:
        head["latency_us"] = block.latency_us
    if block.error is not None:
        head["error"] = block.error
    lacking = [name for name in _SAID if getattr(block, name) is None]
    return head | {"lacking": lacking} if lacking else head


def _shared(items: Sequence[str | None]) -> str | list[tuple[str | None, int]] | None:
    """The one that all rows share, or each with the number of neighbours that share it."""
    if len(items) == 1 or len(set(items)) == 1:
        return items[0]
    return [(one, sum(1 for _ in same)) for one, same in groupby(items)]


def _features(rows: Sequence[Row]) -> _Features:
    if isinstance(rows, MatrixRows):
        if rows.is_plain:
            return {"matrix": rows.names}, [np.ascontiguousarray(rows.matrix, "<f8").tobytes()]
        return _by_column(rows.columns())
    names = tuple(rows[0])
    cells = _cells(rows, names) if len(rows) > _FEW else None
    if cells is None:
        return {}, [orjson.dumps([*map(dict, rows)])]
    if set(map(type, cells)) == {float}:
        return {"matrix": names}, [_array(_DOUBLE, cells)]
    return _by_column({name: cells[place :: len(names)] for place, name in enumerate(names)})


def _cells(rows: Sequence[Row], names: Sequence[str]) -> list[Any] | None:
    """Row by row, if every row has just these columns; what is no text is no name in JSON."""
    if set(map(len, rows)) != {len(names)} or set(map(type, names)) != {str}:
        return None
    try:
        found = map(itemgetter(*names), rows)
        return list(found if len(names) == 1 else chain.from_iterable(found))
    except KeyError:
        return None


def _by_column(columns: Mapping[str, Sequence[Any]]) -> _Features:
    """Numbers of one type as they are; what is left is JSON, at the end."""
    codes = {name: _code(cells) for name, cells in columns.items()}
    arrays = [_array(codes[name], c) for name, c in columns.items() if codes[name] != _JSON]
    rest = [cells for name, cells in columns.items() if codes[name] == _JSON]
    return {"columns": codes}, [*arrays, orjson.dumps(rest)]


def _code(cells: Sequence[Any]) -> str:
    """Neither `True` nor a number that only looks like a float becomes one."""
    types = set(map(type, cells))
    if types == {float}:
        return _DOUBLE
    if types != {int}:
        return _JSON
    bits = max(min(cells).bit_length(), max(cells).bit_length())
    return next((code for code, most in _WHOLE.items() if bits <= most), _JSON)


def _array(code: str, cells: Sequence[Any]) -> bytes:
    made = array(code, cells)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def unpacked(content: bytes, n: int, *, with_rows: bool) -> dict[str, Any]:
    """Those fields of a block of n rows that `packed` wrote. Without `with_rows` a row whose unit
    is named is empty. Raises ValueError, KeyError or TypeError when the bytes are damaged."""
    end = content.index(b"\n")
    head = orjson.loads(content[:end])
    if head["format"] != _FORMAT:
        raise ValueError(f"format {head['format']} is newer than this service")
    parts = _Parts(content, end + 1)
    said = [name for name in _SAID if name not in head.get("lacking", ())]
    columns = parts.numbers(_DOUBLE, n * len(said)).reshape(-1, n)
    shared = {column: _each(head.get(name), n) for name, column in _SHARED.items()}
    rows: Sequence[Row] = [{}] * n
    if with_rows or None in shared["units"]:
        rows = _rows(head, parts, n)
    if not with_rows:
        rows = [{} if u is not None else r for r, u in zip(rows, shared["units"], strict=True)]
    return {
        "level": head["level"],
        "rows": rows,
        **dict.fromkeys(_SAID),
        **dict(zip(said, columns, strict=True)),
        **shared,
        "latency_us": head.get("latency_us"),
        "error": head.get("error"),
    }


def unpacked_alone(content: bytes, *, with_rows: bool) -> dict[str, Any]:
    """What `unpacked` finds for a block of one row, as fields of a Record: many blocks are, and
    arrays of one number take long to make."""
    end = content.index(b"\n")
    head = orjson.loads(content[:end])
    if head["format"] != _FORMAT or "lacking" in head or "columns" in head:
        found = unpacked(content, 1, with_rows=with_rows)
        said = {one: found[many] for one, many in _ALONE.items()}
        return {name: None if many is None else many[0] for name, many in said.items()} | {
            name: found[name] for name in ("level", "latency_us", "error")
        }
    value, lower, upper = _THREE.unpack_from(content, end + 1)
    unit = head.get("unit")
    return {
        "row": {} if unit is not None and not with_rows else _row(head, content, end + 25),
        "value": value,
        "lower": lower,
        "upper": upper,
        "level": head["level"],
        "request_id": head["request_id"],
        "caller": head.get("caller"),
        "unit": unit,
        "latency_us": head.get("latency_us"),
        "error": head.get("error"),
    }


def _row(head: Mapping[str, Any], content: bytes, start: int) -> Row:
    names = head.get("matrix")
    if names is not None:
        return dict(zip(names, unpack_from(f"<{len(names)}d", content, start), strict=True))
    (row,) = orjson.loads(content[start:])
    if not isinstance(row, dict):
        raise ValueError("the features are no row")
    return row


class _Parts:
    """Takes bytes off, one part after the other."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._at = start

    def numbers(self, code: str, n: int) -> Vector:
        found = np.frombuffer(self._content, _TYPES[code], n, self._at)
        self._at += found.nbytes
        return found

    def rest(self) -> Any:
        return orjson.loads(self._content[self._at :])


def _each(shared: Any, n: int) -> list[str | None]:
    if not isinstance(shared, list):
        return [shared] * n
    found = [one for one, count in shared for _ in range(count)]
    if len(found) != n:
        raise ValueError(f"{len(found)} items for {n} rows")
    return found


def _rows(head: Mapping[str, Any], parts: _Parts, n: int) -> Sequence[Row]:
    if "matrix" in head:
        names = head["matrix"]
        return MatrixRows(names, parts.numbers(_DOUBLE, n * len(names)).reshape(n, len(names)))
    if "columns" not in head:
        rows: Sequence[Row] = parts.rest()
        if len(rows) != n or not all(isinstance(row, dict) for row in rows):
            raise ValueError("the features are no rows")
        return rows
    return [*_of_columns(head["columns"], parts, n)]


def _of_columns(codes: Mapping[str, str], parts: _Parts, n: int) -> Iterator[Row]:
    columns = {name: parts.numbers(c, n).tolist() for name, c in codes.items() if c != _JSON}
    others = (name for name, code in codes.items() if code == _JSON)
    columns |= zip(others, parts.rest(), strict=True)
    for cells in zip(*(columns[name] for name in codes), strict=True):
        yield dict(zip(codes, cells, strict=True))
