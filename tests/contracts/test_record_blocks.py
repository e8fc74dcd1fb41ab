"""Every adapter keeps blocks of many rows as it keeps single records."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from engine.domain.errors import UnknownPrediction
from engine.domain.ports import Records
from engine.domain.record import JoinedRecord, Outcome, Record, RecordBlock
from engine.domain.rows import MatrixRows
from engine.domain.schema import Row
from tests.blocks import put
from tests.contracts.test_records import NOW, ROW, read, record
from tests.contracts.test_records import records as records

AT = "2026-01-01T00:00:00.000Z"


def block(rows: Sequence[Row], id_: str = "turn", **changes: Any) -> RecordBlock:
    """So many rows of one request that one version answered."""
    n = len(rows)
    values = 1e5 + np.arange(n) / 3
    made = RecordBlock(
        id=id_,
        at=AT,
        problem="housing",
        version="v1.0.0",
        variant="champion",
        level=0.9,
        numbers=np.arange(n),
        rows=rows,
        values=values,
        lower=values - 0.1,
        upper=values + 0.1,
        request_ids=["request"] * n,
        callers=[None] * n,
        units=[None] * n,
    )
    return replace(made, **changes)


def numbered(*numbers: int, **changes: Any) -> RecordBlock:
    return block([ROW] * len(numbers), numbers=np.array(numbers), **changes)


def kept(records: Records, **limits: Any) -> list[Record]:
    return [joined.record for joined in read(records, **limits)]


def ids(records: Records, **limits: Any) -> list[str]:
    return [record.id for record in kept(records, **limits)]


TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=5)
FLOAT = some.floats(allow_nan=False, allow_infinity=False)
NUMBER = FLOAT | some.integers(-(2**63), 2**63 - 1)
CELL = NUMBER | TEXT | some.none() | some.booleans() | some.lists(some.integers(-9, 9), max_size=2)
COLUMN: some.SearchStrategy[Any] = some.sampled_from(
    [FLOAT, NUMBER, some.integers(-200, 200), CELL]
)


@some.composite
def tables(draw: Any) -> list[Row]:
    """Rows of the same columns, but for some cells that are absent."""
    columns = {name: draw(COLUMN) for name in draw(some.lists(TEXT, max_size=4, unique=True))}
    rows = [{name: draw(cells) for name, cells in columns.items()} for _ in range(draw(SIZE))]
    if columns and draw(some.booleans()):
        rows[0].pop(draw(some.sampled_from([*columns])))
    return [*rows]


SIZE = some.integers(1, 9)


@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(rows=tables())
def test_whatever_a_row_holds_comes_back_to_the_last_bit(records: Records, rows: list[Row]) -> None:
    while records.forget("2030", 99):
        pass
    told = block(rows)
    records.append([told])
    assert repr(kept(records)) == repr([*told.records()]), "neither 1.0 for 1 nor 0.0 for -0.0"


def test_rows_of_a_matrix_are_kept_like_rows_of_numbers(records: Records) -> None:
    names, matrix = ("a", "b"), np.array([[0.1 + 0.2, -0.0], [5e-324, 1e308], [3.0, 2.0]])
    records.append([block(MatrixRows(names, matrix))])
    rows = [dict(zip(names, row, strict=True)) for row in matrix.tolist()]
    assert repr(kept(records)) == repr([*block(rows).records()])


@pytest.mark.parametrize("lost", [{"x": "half \ud800"}, {"half \ud800": 1.0}, {"x": {1, 2}}])
def test_a_row_that_is_no_json_is_refused_and_takes_the_others_along(
    records: Records, lost: Row, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        pytest.skip("memory keeps anything")
    with pytest.raises(ValueError, match="cannot be written"):
        records.append([block([ROW]), block([ROW, lost], "other")])
    assert kept(records) == []


def test_a_block_may_hold_what_several_callers_asked_about_several_units(records: Records) -> None:
    mixed = block(
        [{"x": float(number)} for number in range(6)],
        request_ids=["one", "one", "one", "two", "two", "three"],
        callers=["ann", "ann", "ann", None, None, "bob"],
        units=["user 1", None, "user 2", "user 1", "user 1", ""],
    )
    records.append([mixed])
    told = kept(records)
    assert told == [*mixed.records()]
    assert [one.request_id for one in told] == mixed.request_ids
    assert [one.unit for one in told] == mixed.units
    bare = kept(records, with_rows=False)
    assert [one.row for one in bare] == [{}, {"x": 1.0}, {}, {}, {}, {}]


def test_rows_come_by_number_and_versions_of_a_row_beside_each_other(records: Records) -> None:
    """Also where each version was asked about a part of the rows, and the champion twice."""
    beside = {"version": "v1.1.0", "variant": "shadow"}
    failed = {"values": None, "lower": None, "upper": None, "error": "it cannot"}
    records.append(
        [
            numbered(0, 1, 2, 4, 7, 8, 9, 10, 11),
            numbered(3, 6, version="v1.2.0", **failed),
            numbered(5, version="v1.3.0", **failed),
            numbered(3, 6, variant="fallback"),
            numbered(5, variant="fallback"),
            numbered(*range(12), **beside),
        ]
    )
    found = [(one.id, one.version) for one in kept(records)]
    failing = {3: "v1.2.0", 6: "v1.2.0", 5: "v1.3.0"}
    assert found == [
        (f"turn-{number}", version)
        for number in range(12)
        for version in ("v1.0.0", "v1.1.0", failing.get(number))
        if version
    ]


def test_the_newest_are_rows_and_not_blocks(records: Records) -> None:
    records.append([numbered(*range(5)), numbered(*range(5), id_="turn2")])
    records.append([numbered(1, 3, version="v1.1.0", id_="turn2")])
    assert ids(records, newest=3) == ["turn2-3", "turn2-3", "turn2-4"]
    assert ids(records, newest=8) == ["turn-4", *ids(records)[5:]]
    records.label("housing", [Outcome(f"turn-{n}", 1.0, NOW) for n in (2, 4)])
    records.label("housing", [Outcome("turn2-3", 1.0, NOW)])
    known = ["turn-2", "turn-4", "turn2-3", "turn2-3"]
    assert ids(records, with_outcome=True) == known
    assert ids(records, with_outcome=True, newest=2) == known[2:]
    assert ids(records, with_outcome=True, newest=3) == known[1:]


@pytest.mark.parametrize("name", ["turn-3", "turn-00", "turn-", "turn", "turn-1-0", "turn--1"])
def test_a_row_that_a_block_lacks_is_unknown(records: Records, name: str) -> None:
    records.append([numbered(0, 1, 2, 4)])
    with pytest.raises(UnknownPrediction):
        records.label("housing", [Outcome("turn-4", 1.0, NOW), Outcome(name, 1.0, NOW)])
    assert records.label("housing", [Outcome("turn-4", 1.0, NOW)]) == 1


def test_blocks_whose_ids_begin_alike_keep_their_own_outcomes(records: Records) -> None:
    records.append([block([ROW], id_) for id_ in ("a", "a-0", "a0", "a.", "a-")])
    for number, name in enumerate(("a-0", "a-0-0", "a0-0", "a.-0", "a--0")):
        records.label("housing", [Outcome(name, float(number), NOW)])
    told = {one.record.id: one.outcome and one.outcome.actual for one in read(records)}
    assert told == {"a-0": 0.0, "a-0-0": 1.0, "a0-0": 2.0, "a.-0": 3.0, "a--0": 4.0}
    assert len(ids(records, with_outcome=True)) == 5


def test_appending_a_block_again_changes_nothing(records: Records) -> None:
    records.append([numbered(0, 1), numbered(0, 1)])
    records.append([numbered(0, 1), numbered(2)])
    assert ids(records) == ["turn-0", "turn-1", "turn-2"]


def test_a_block_of_more_rows_than_a_step_is_forgotten_all_the_same(records: Records) -> None:
    records.append([numbered(*range(9), units=["user"] * 9), numbered(0, id_="turn2")])
    records.label("housing", [Outcome("turn-4", 1.0, NOW), Outcome("turn2-0", 1.0, NOW)])
    steps = [records.forget("2030", 4) for _ in range(9)]
    assert sum(steps) == 10
    assert steps[-1] == 0
    records.append([numbered(*range(9)), numbered(0, id_="turn2")])
    assert ids(records, with_outcome=True) == []


def test_erasing_takes_a_unit_out_of_every_block_and_leaves_the_others(records: Records) -> None:
    who = ["ann", "bob", None, "ann", "eve"]
    rows = [{"x": number, "y": "text"} for number in range(5)]
    mixed, shadow = block(rows, units=who), block(rows, units=who, version="v1.1.0")
    alone, churn = block([ROW], "turn2", units=["ann"]), block([ROW], "turn3", units=["ann"])
    records.append([mixed, shadow, alone, replace(churn, problem="churn")])
    said = [Outcome(f"turn-{number}", float(number), NOW) for number in range(5)]
    records.label("housing", [*said, Outcome("turn2-0", 9.0, NOW)])
    assert records.erase("housing", "nobody") == 0
    assert records.erase("housing", "ann") == 5
    left = [
        JoinedRecord(one, said[number])
        for number in (1, 2, 4)
        for one in (one for told in (mixed, shadow) for one in [[*told.records()][number]])
    ]
    assert read(records) == left
    assert ids(records, problem="churn") == ["turn3-0"]
    for gone in ("turn-0", "turn2-0"):
        with pytest.raises(UnknownPrediction):
            records.label("housing", [Outcome(gone, 1.0, NOW)])
    assert records.label("housing", said[1:3]) == 0
    assert [records.erase("housing", one) for one in ("ann", "bob", "eve")] == [0, 2, 2]
    assert ids(records) == ["turn-2", "turn-2"]


@pytest.mark.parametrize("unit", ["", "x" * 5_000, "nul\0 and\nlines", "用户 7", "%' --"])
def test_whatever_a_unit_is_called_it_is_erased(records: Records, unit: str) -> None:
    put(records, [record(f"{n:04}", unit=unit) for n in range(1_001)])
    put(records, [record("other", unit=f"{unit}x")])
    assert records.erase("housing", unit) == 1_001
    assert ids(records) == ["other-0"]
    assert records.forget("2030", 99) == 1
    assert records.erase("housing", f"{unit}x") == 0
