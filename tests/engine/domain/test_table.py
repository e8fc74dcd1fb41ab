"""Columns and rows agree: what a column shows to be right is what validation makes of the rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from engine.domain.columns import Category, Number
from engine.domain.rows import MatrixRows
from engine.domain.schema import Schema, body_type
from engine.domain.table import Table, encoded

WHOLE = Number("whole", "rooms", "Rooms.", 0, 50, 3, is_whole=True)
SIZE = Number("size", "m", "Size.", -5, 1_000, 70.5, may_be_missing=True)
PLAN = Category("plan", "Plan.", ("free", "paid"), "paid")
IS_NEW = Category("is_new", "Is it new?", ("False", "True"), "True", may_be_missing=True)
SCHEMA = Schema((WHOLE, SIZE, PLAN, IS_NEW))
TOLERANT = Schema(
    tuple(
        column.unbounded()
        for column in (
            Number("whole", "rooms", "Rooms.", 0, 50, 3, may_be_missing=True),
            SIZE,
            Category("plan", "Plan.", ("free", "paid"), "paid", may_be_missing=True),
            IS_NEW,
        )
    )
)
MANY: Any = list
STRICT_ROWS: TypeAdapter[Any] = TypeAdapter(MANY[SCHEMA.row_type("Strict")])
TOLERANT_ROWS: TypeAdapter[Any] = TypeAdapter(MANY[body_type("Tolerant", TOLERANT.tolerant_fields)])
USUAL = {
    "whole": st.integers(0, 50) | st.sampled_from([3.0, 0.0, -0.0, 50.0]),
    "size": st.none() | st.floats(-5, 1_000) | st.integers(-5, 1_000),
    "plan": st.sampled_from(["free", "paid", "gold", " paid", ""]),
    "is_new": st.none() | st.sampled_from(["True", "False", "true", "1"]),
}
ODD = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.sampled_from(["3", " 2.5 ", "NA", "1_0", "inf", "x" * 200, "x" * 201, "1e31", 2.5, 51, 1])
    | st.lists(st.integers(), max_size=1)
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Usual columns, most of them; a few odd cells; a column may be absent."""
    n = draw(st.integers(1, 5))
    columns = {name: draw(st.lists(cells, min_size=n, max_size=n)) for name, cells in USUAL.items()}
    for name, place, cell in draw(
        st.lists(st.tuples(st.sampled_from([*USUAL]), st.integers(0, n - 1), ODD), max_size=2)
    ):
        cells: list[Any] = columns[name]
        cells[place] = cell
    for name in draw(st.sets(st.sampled_from([*USUAL]), max_size=1)):
        del columns[name]
    return columns


@pytest.mark.parametrize("is_tolerant", [False, True])
@settings(max_examples=300, deadline=None)
@given(columns=tables())
@example(columns={"whole": [2.5], "size": [None], "plan": ["free"], "is_new": [None]})
@example(columns={"whole": [-np.nan], "size": [None], "plan": ["free"], "is_new": [None]})
def test_columns_are_encoded_as_their_rows_are_or_left_to_validation(
    is_tolerant: bool, columns: dict[str, list[Any]]
) -> None:
    schema, row_type = (TOLERANT, TOLERANT_ROWS) if is_tolerant else (SCHEMA, STRICT_ROWS)
    table = Table.of(columns)
    found = encoded(schema, table, is_tolerant=is_tolerant)
    as_json = to_json(table.some(0, table.rows), inf_nan_mode="constants")
    try:
        rows = row_type.validate_json(as_json)
    except ValidationError:
        assert found is None
        return
    if found is None:
        assert any(c != c for cells in columns.values() for c in cells)  # only a NaN is unclear
        return
    assert found.matrix.tobytes() == schema.encode(rows).tobytes()
    assert schema.warnings(found, found.matrix) == schema.warnings(rows)
    full = [{name: row.get(name) for name in schema.names} for row in rows]
    assert [*found] == [found[place] for place in range(len(found))] == full


@pytest.mark.parametrize(
    "array",
    [
        np.array([3, 4], np.int8),
        np.array([3, 4], np.uint64),
        np.array([3, 4], np.float32),
        np.ma.array([3, 9], mask=[False, True]),
    ],
)
def test_arrays_are_read_as_lists_of_the_same_numbers(array: Any) -> None:
    schema = Schema((SIZE,))
    by_array = encoded(schema, Table({"size": array}, 2), is_tolerant=False)
    by_list = encoded(schema, Table({"size": array.tolist()}, 2), is_tolerant=False)
    assert by_array is not None
    assert by_list is not None
    assert by_array.matrix.tobytes() == by_list.matrix.tobytes()


def test_a_nan_in_an_array_is_not_taken_for_a_missing_number() -> None:
    table = Table({"size": np.array([1.0, np.nan])}, 2)
    assert encoded(Schema((SIZE,)), table, is_tolerant=False) is None


def test_encoding_gives_the_matrix_itself_where_the_rows_have_it() -> None:
    schema = Schema((SIZE, WHOLE))
    rows = MatrixRows(("size", "whole"), np.array([[1.5, 2.0], [np.nan, 3.0]]))
    assert schema.encode(rows) is rows.matrix
    turned = MatrixRows(("whole", "size"), rows.matrix[:, ::-1])
    np.testing.assert_array_equal(schema.encode(turned), rows.matrix)


def test_some_rows_of_a_table_keep_their_texts() -> None:
    rows = MatrixRows(
        ("a", "b"), np.array([[1.0, 0], [2, np.nan], [3, 1]]), {"b": ["x", None, "y"]}
    )
    assert [*rows[1:]] == [{"a": 2.0, "b": None}, {"a": 3.0, "b": "y"}]
    assert [*rows.take(np.array([2, 0]))] == [{"a": 3.0, "b": "y"}, {"a": 1.0, "b": "x"}]
