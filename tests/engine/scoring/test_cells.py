"""Columns of Arrow say what their cells say one by one, whatever types they come in."""

import math
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.columns import LARGEST, Category, Column, Number
from engine.domain.schema import Schema
from engine.scoring.cells import cells_of

NUMBER = Number("size", "m", "A size.", -100, 1e9, 1, may_be_missing=True)
WHOLE = Number("rooms", "rooms", "Rooms.", 0, 50, 3, is_whole=True)
WIDE = Number("any", "m", "Any.", -LARGEST, LARGEST, 1, may_be_missing=True, warns_of_gap=True)
PLAN = Category("plan", "A plan.", ("free", "1", "2.5", "True"), "free", may_be_missing=True)
COLUMNS = (NUMBER, WHOLE, WIDE, PLAN)
SAID = (
    "12",
    "NAN",
    " 12 ",
    "+3",
    "1e3",
    "1e999",
    "-0",
    ".5",
    "5.",
    "inf",
    "0x10",
    "1_000",
    "abc",
    "١٢",
)
NAMED = ("", "nan", "NaN", "NA", "free", " free ", "1", "1.0", "True", "true", "2.5", "x" * 201)
TEXTS = st.sampled_from((*SAID, *NAMED))
NUMBERS = st.floats() | st.integers(-200, 200).map(float)


def one_by_one(column: Column, cells: list[Any]) -> tuple[list[float], list[bool]]:
    """Codes as `Schema.encode` has them, and whether each cell breaks a rule."""
    codes, broken = [], []
    for cell in cells:
        try:
            value = column.read(cell)
        except ValueError:
            codes.append(math.nan)
            broken.append(True)
            continue
        codes.append(Schema((column,)).encode([{column.name: value}])[0, 0])
        broken.append(breaks(column, value))
    return codes, broken


def breaks(column: Column, value: Any) -> bool:
    if value is None:
        return not column.may_be_missing
    if isinstance(value, str):
        return len(value) > 200
    return not column.low <= value <= column.high or (column.is_whole and value % 1 != 0)


def assert_the_same(column: Column, array: Any, cells: list[Any]) -> None:
    found = cells_of(column, array, is_untyped=False)
    codes, broken = one_by_one(column, cells)
    flags = np.zeros(len(cells), bool)
    for rows, _ in found.broken:
        flags |= rows
    assert flags.tolist() == broken
    answered = [row for row, is_broken in enumerate(broken) if not is_broken]
    assert np.array_equal(found.codes[answered], np.array(codes)[answered], equal_nan=True)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@given(cells=st.lists(st.none() | TEXTS, max_size=8))
def test_texts_are_read_as_a_service_reads_them(column: Column, cells: list[str | None]) -> None:
    assert_the_same(column, pa.array(cells, pa.string()), cells)
    assert_the_same(column, pa.array(cells, pa.string()).dictionary_encode(), cells)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@given(cells=st.lists(st.none() | NUMBERS, max_size=8))
def test_numbers_are_read_as_a_service_reads_them(
    column: Column, cells: list[float | None]
) -> None:
    assert_the_same(column, pa.array(cells, pa.float64()), cells)


@given(texts=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False).map(repr)))
def test_numbers_written_as_texts_are_the_same_bits(texts: list[str | None]) -> None:
    assert_the_same(NUMBER, pa.array(texts, pa.string()), texts)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2**53 + 1, None], pa.int64()),
        pa.array([2**64 - 1, 3, 0], pa.uint64()),
        pa.array([True, False, None]),
        pa.array([0.1, 2.5, None], pa.float32()),
        pa.array([Decimal("0.10"), Decimal("3"), None]),
        pa.array([date(2026, 1, 1), None]),
        pa.array([[1.0], None, []]),
        pa.array([None, None]),
        pa.array([], pa.float64()),
    ],
    ids=lambda array: str(array.type),
)
def test_other_types_are_read_as_a_service_reads_them(column: Column, array: Any) -> None:
    assert_the_same(column, array, array.to_pylist())


def test_where_a_file_has_no_types_a_number_names_its_category_however_it_is_written() -> None:
    column = Category("grade", "A grade.", ("1", "2", "01"), "1")
    texts = pa.array(["1", "1.0", "01", "2.00", "3.0"])
    untyped = cells_of(column, texts, is_untyped=True)
    typed = cells_of(column, texts, is_untyped=False)
    assert np.array_equal(untyped.codes, [0, 0, 2, 1, np.nan], equal_nan=True)
    assert np.array_equal(typed.codes, [0, np.nan, 2, np.nan, np.nan], equal_nan=True)


def test_each_broken_rule_and_each_warning_is_named() -> None:
    rooms = cells_of(WHOLE, pa.array([3.0, 60.0, -1.0, 2.5, None, math.inf]), is_untyped=False)
    assert {rule: flags.nonzero()[0].tolist() for flags, rule in rooms.broken} == {
        "rooms must be at most 50": [1],
        "rooms must be at least 0": [2],
        "rooms must be a whole number": [3],
        "rooms must not be missing": [4],
        "rooms must be a number": [5],
    }
    plans = cells_of(PLAN, pa.array(["gold", "free", None]), is_untyped=False)
    gaps = cells_of(WIDE, pa.array([1.0, None]), is_untyped=False)
    assert [rule for _, rule in plans.warned] == ["plan is not a known category"]
    assert [rule for _, rule in gaps.warned] == ["any is missing, and never was in training"]
