"""Tables as CSV: a header line, then a line a row; UTF-8, commas, quotes where they are needed."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from engine.domain import cells
from engine.domain.columns import ByColumnType
from engine.domain.errors import InvalidInput, MalformedBody, Violation
from engine.domain.schema import Schema
from engine.domain.table import SHOWN_VIOLATIONS, Cells, ReplyTable, Table, refuse_repeated

MEDIA_TYPE = "text/csv"
_BETWEEN_WARNINGS = " | "


def read_csv(schema: Schema, most_rows: int, body: bytes) -> Table:
    """Cells have the type of their column; an empty one is missing, as is one that says so.

    Of more rows than `most_rows` only the number is told. Raises MalformedBody, or InvalidInput for
    lines of another length than the header.
    """
    header, lines = _lines(body)
    refuse_repeated(header)
    if len(lines) > most_rows:
        return Table({}, len(lines))
    _refuse_ragged(lines, len(header))
    kinds = {column.name: column.type for column in schema.columns}
    by_column = zip(*lines, strict=True) if lines else [()] * len(header)
    columns: dict[str, Cells] = {}
    for name, texts in zip(header, by_column, strict=True):
        columns[name] = _TYPED[kinds[name]](texts) if name in kinds else _others(texts)
    return Table.of(columns)


def _lines(body: bytes) -> tuple[list[str], list[list[str]]]:
    try:
        text = body.decode("utf-8-sig")
        header, *lines = filter(None, csv.reader(io.StringIO(text, newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise MalformedBody("the body is not CSV: it is not UTF-8") from error
    except csv.Error as error:
        raise MalformedBody(f"the body is not CSV: {error}") from error
    except ValueError as error:
        raise MalformedBody("the body is not CSV: it has no header line") from error
    return header, lines


def _refuse_ragged(lines: Sequence[Sequence[str]], width: int) -> None:
    wrong = [
        Violation(
            f"/{row}",
            "",
            row,
            "unequal_length",
            f"Line should have {width} cells, as many as the header, not {len(line)}",
        )
        for row, line in enumerate(lines)
        if len(line) != width
    ]
    if wrong:
        raise InvalidInput(wrong[:SHOWN_VIOLATIONS], len(wrong))


def _numbers(texts: Sequence[str]) -> Cells:
    try:
        vector = np.array([*map(float, texts)], np.float64)
    except ValueError:
        return [_number(text) for text in texts]
    if np.isfinite(vector).all() and "_" not in "".join(texts):
        return vector
    return [_number(text) for text in texts]


def _number(text: str) -> Any:
    """What is no number stays a text, and an infinite one is told apart from that: validation has
    words for both."""
    try:
        return cells.number(text)
    except ValueError:
        pass
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return text
    return value if math.isinf(value) else text


def _names(texts: Sequence[str]) -> Cells:
    known = {text: cells.name(text) for text in set(texts)}
    return [known[text] for text in texts]


def _others(texts: Sequence[str]) -> Cells:
    return [text or None for text in texts]


_TYPED = ByColumnType(number=_numbers, category=_names)


def write_csv(reply: ReplyTable) -> bytes:
    """What holds for all rows is repeated in each line; warnings are one cell."""
    warnings = [_BETWEEN_WARNINGS.join(warnings) for warnings in reply.warnings]
    columns = {name: _written(cells) for name, cells in reply.columns.items()}
    columns["warnings"] = warnings
    header, same = _line([*columns, *reply.facts]), _line([*reply.facts.values()])
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=f",{same}").writerows(zip(*columns.values(), strict=True))
    return (header + out.getvalue()).encode()


def _written(cells: Sequence[Any]) -> Sequence[Any]:
    """orjson writes floats in a tenth of the time, with as many digits."""
    if set(map(type, cells)) != {float}:
        return cells
    return orjson.dumps(cells)[1:-1].decode().split(",")


def _line(cells: Sequence[Any]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)
    return out.getvalue()
