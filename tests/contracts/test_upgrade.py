"""A database that an earlier version made goes on, and gets what is new when somebody writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, select

from engine.domain.record import JoinedRecord, Outcome
from engine.stores.records import SqlRecords
from engine.stores.tables import OUTCOMES as OUTCOMES_TABLE
from engine.stores.tables import UNITS
from tests.blocks import put
from tests.contracts.test_records import NOW, ROW, ids, outcome, read, record
from tests.older import OUTCOMES, PREDICTIONS, put_as_before

TWO = [JoinedRecord(record("a"), outcome("a")), JoinedRecord(record("b", 1), None)]


@pytest.fixture
def old(database: str) -> str:
    """The URL of a database with the tables of an earlier version, and with two of its records."""
    put_as_before(database, [one.record for one in TWO], [outcome("a")])
    return database


def indexes(url: str) -> set[str | None]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with closing(engine.connect()) as connection:
        tables = inspect(connection)
        found = [*tables.get_indexes("predictions"), *tables.get_indexes("outcomes")]
    engine.dispose()
    return {index["name"] for index in found}


NEW = {"predictions_by_age", "outcomes_by_problem"}


def test_it_is_read_as_it_is(old: str) -> None:
    with closing(SqlRecords(old)) as records:
        assert read(records) == TWO
        assert read(records, with_outcome=True, newest=9) == TWO[:1]
    assert indexes(old) == {"predictions_by_problem"}


def test_old_records_and_new_ones_are_read_in_the_order_of_time(old: str) -> None:
    with closing(SqlRecords(old)) as records:
        put(records, [record("0", 2), record("c"), record("a", 1, problem="churn")])
        put_as_before(old, [record("d", 3, unit="user 7")], [])
        assert ids(records) == ["a", "c", "b", "0", "d"]
        assert ids(records, newest=3) == ["b", "0", "d"]
        assert ids(records, since="2026-01-01T00:01:00.000Z", until=record("", 3).at) == ["b", "0"]
        assert [one.record.row for one in read(records, with_rows=False)][3:] == [ROW, {}]
        said = [Outcome(f"{name}-0", 1.0, NOW) for name in "bcd"]
        assert records.label("housing", said) == 3
        assert records.label("housing", [outcome("a"), *said]) == 0
        assert ids(records, with_outcome=True) == ["a", "c", "b", "d"]
        assert ids(records, with_outcome=True, newest=2) == ["c", "d"]
        assert len(ids(records)) == 5


def test_old_records_and_new_ones_are_removed_with_their_outcomes(old: str) -> None:
    with closing(SqlRecords(old)) as records:
        put_as_before(old, [record(f"c{n:03}", 2, unit="user 7") for n in range(600)], [])
        put(records, [record("d", 2, unit="user 7"), record("e"), record("f", 3, unit="user 8")])
        records.label("housing", [outcome("c500"), outcome("d"), outcome("e")])
        assert records.erase("housing", "user 7") == 601
        assert ids(records) == ["a", "e", "b", "f"]
        assert [records.forget("2030", 1) for _ in range(5)] == [1, 1, 1, 1, 0]
    engine = create_engine(old.replace("postgresql:", "postgresql+psycopg:"))
    with closing(engine.connect()) as people:
        assert people.execute(select(OUTCOMES_TABLE)).all() == []
        assert people.execute(select(UNITS)).all() == []
    engine.dispose()


def test_an_earlier_version_may_go_on_beside_this_one(old: str) -> None:
    """What it writes is read by this one; it finds its own tables as ever."""
    with closing(SqlRecords(old)) as records:
        put(records, [record("c", 2)])
        put_as_before(old, [record("d", 3)], [outcome("d")])
        assert read(records)[2:] == [
            JoinedRecord(record("c", 2), None),
            JoinedRecord(record("d", 3), outcome("d")),
        ]
    with closing(SqlRecords(old)) as records:
        assert ids(records) == [*"abcd"]


@pytest.mark.parametrize("first", ["append", "label", "forget"])
def test_whoever_writes_first_makes_the_indexes_that_are_missing(
    old: str, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SqlRecords(old)) as records:
        if first == "append":
            put(records, [record("c", 2)])
        elif first == "label":
            assert records.label("housing", [outcome("b")]) == 1
        else:
            assert records.forget("2026-01-01T00:01:00.000Z", 9) == 1
        left = ids(records)
    assert left == {"append": [*"abc"], "label": [*"ab"], "forget": ["b"]}[first]
    assert indexes(old) == {"predictions_by_problem", *NEW}
    made = [line.getMessage() for line in caplog.records]
    assert {line.split()[1] for line in made} == NEW
    assert {line.split()[0] for line in made} == {"making_index", "index_made"}


def test_an_index_that_cannot_be_made_is_told_and_stops_nobody(
    sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = Path(sqlite.removeprefix("sqlite:///"))
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as people:
        people.execute("CREATE TABLE outcomes_by_problem (in_its_place)")
        for statement in (PREDICTIONS, OUTCOMES):
            people.execute(statement.format(c="", double="DOUBLE"))
    with closing(SqlRecords(sqlite)) as records:
        put(records, [record("a")])
        records.label("housing", [outcome("a")])
        assert read(records, with_outcome=True, newest=1) == [
            JoinedRecord(record("a"), outcome("a"))
        ]
    assert "index_not_made outcomes_by_problem: there is already a table" in caplog.text
    assert NEW - indexes(sqlite) == {"outcomes_by_problem"}
