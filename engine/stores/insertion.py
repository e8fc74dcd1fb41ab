"""Rows as one INSERT, whatever the database, and the type of the columns they are found by."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Double, Integer, LargeBinary, String, Table

from engine.stores.databases import POSTGRESQL

KEY = String(100).with_variant(String(100, collation="C"), POSTGRESQL)
"""Ordered by code point, whatever language the database was made for."""
Rows = Sequence[Sequence[Any]]
_ARRAYS = {Double: "float8", Integer: "int4", LargeBinary: "bytea"}


def insertion(
    kind: str, table: Table, rows: Rows, *, conflict: str = "DO NOTHING"
) -> tuple[str, tuple[Any, ...]]:
    """One statement with its parameters, however many rows; a row that is there already stays,
    unless `conflict` says otherwise.

    One, because sqlite3 lets go of the GIL in each and beside a busy event loop gets it back
    late. SQLAlchemy's own is compiled for every number of rows, which takes 0.15 ms a row.
    """
    source, parameters = (_arrays if kind == POSTGRESQL else _values)(table, rows)
    into = f"INSERT INTO {table.name} ({', '.join(table.c.keys())})"
    return f"{into} {source} ON CONFLICT {conflict}", parameters


def _values(table: Table, rows: Rows) -> tuple[str, tuple[Any, ...]]:
    row = f"({', '.join('?' * len(table.c))})"
    return f"VALUES {', '.join([row] * len(rows))}", tuple(value for row in rows for value in row)


def _arrays(table: Table, rows: Rows) -> tuple[str, tuple[Any, ...]]:
    """A parameter a column: psycopg takes longer over thousands than the server does."""
    kinds, arrays = [], []
    for column, values in zip(table.c, zip(*rows, strict=True), strict=True):
        kinds.append(f"%s::{_ARRAYS.get(type(column.type), 'text')}[]")
        is_number = isinstance(column.type, Double)
        arrays.append([*map(_float, values)] if is_number else [*values])
    return f"SELECT * FROM unnest({', '.join(kinds)})", tuple(arrays)  # noqa: S608 - all ours


def _float(value: float | None) -> float | None:
    """An array is of one type."""
    return None if value is None else float(value)
