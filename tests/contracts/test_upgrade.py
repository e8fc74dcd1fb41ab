"""A database that an earlier version made goes on, and gets what is new when somebody writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, inspect

from engine.domain.record import JoinedRecord
from engine.stores.records import SqlRecords
from tests.blocks import put
from tests.contracts.test_records import ids, outcome, read, record

PREDICTIONS = """CREATE TABLE predictions (
    id VARCHAR(100){c} NOT NULL, at VARCHAR(100){c} NOT NULL, problem VARCHAR(100){c} NOT NULL,
    version VARCHAR(100){c} NOT NULL, variant VARCHAR(100){c} NOT NULL, features TEXT NOT NULL,
    value {double}, lower {double}, upper {double}, level {double} NOT NULL,
    request_id TEXT NOT NULL, caller TEXT, unit TEXT, latency_us {double}, error TEXT,
    PRIMARY KEY (id, version)
)"""
OUTCOMES = """CREATE TABLE outcomes (
    prediction_id VARCHAR(100){c} NOT NULL, problem VARCHAR(100){c} NOT NULL,
    actual {double} NOT NULL, known_at VARCHAR(100){c} NOT NULL, PRIMARY KEY (prediction_id)
)"""
BY_PROBLEM = "CREATE INDEX predictions_by_problem ON predictions (problem, at)"
ROWS = [
    f"""INSERT INTO predictions (id, at, problem, version, variant, features, value, lower, upper,
    level, request_id) VALUES ('{name}-0', '2026-01-01T00:0{minute}:00.000Z', 'housing', 'v1.0.0',
    'champion', '{{"square_feet":2000.0,"distance_to_city":0.1}}', 403097.19, {1 / 3!r}, 5e5, 0.9,
    'request')"""  # noqa: S608 - all ours
    for minute, name in enumerate("ab")
]
LATE = "INSERT INTO outcomes VALUES ('a-0', 'housing', 1.0, '2026-02-01T00:00:00.000Z')"
WORDS = {"sqlite": ("", "DOUBLE"), "postgresql": (' COLLATE "C"', "DOUBLE PRECISION")}


@pytest.fixture
def old(database: str) -> str:
    """The URL of a database with the tables of an earlier version, and with two of its records."""
    kind = database.split(":")[0]
    collation, double = WORDS[kind]
    tables = [one.format(c=collation, double=double) for one in (PREDICTIONS, OUTCOMES)]
    file = database.removeprefix("sqlite:///")
    if kind == "sqlite":
        Path(file).parent.mkdir()
    with closing(sqlite3.connect(file) if kind == "sqlite" else psycopg.connect(database)) as made:
        for statement in (*tables, BY_PROBLEM, *ROWS, LATE):
            made.execute(statement)
        made.commit()
    return database


def indexes(url: str) -> set[str | None]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with closing(engine.connect()) as connection:
        tables = inspect(connection)
        found = [*tables.get_indexes("predictions"), *tables.get_indexes("outcomes")]
    engine.dispose()
    return {index["name"] for index in found}


NEW = {"predictions_by_age", "outcomes_by_problem"}
TWO = [JoinedRecord(record("a"), outcome("a")), JoinedRecord(record("b", 1), None)]


def test_it_is_read_as_it_is(old: str) -> None:
    with closing(SqlRecords(old)) as records:
        assert read(records) == TWO
        assert read(records, with_outcome=True, newest=9) == TWO[:1]
    assert indexes(old) == {"predictions_by_problem"}


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
