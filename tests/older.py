"""A database as an earlier version of the service left it, or goes on to write it."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

import psycopg

from engine.domain.record import Outcome, Record

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
_BY_PROBLEM = "CREATE INDEX IF NOT EXISTS predictions_by_problem ON predictions (problem, at)"
_WORDS = {"sqlite": ("", "DOUBLE", "?"), "postgresql": (' COLLATE "C"', "DOUBLE PRECISION", "%s")}


def put_as_before(url: str, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    """One row a record, in tables that are made where they are missing."""
    kind = url.split(":")[0]
    collation, double, mark = _WORDS[kind]
    made = [one.format(c=collation, double=double) for one in (PREDICTIONS, OUTCOMES)]
    file = Path(url.removeprefix("sqlite:///"))
    if kind == "sqlite":
        file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file) if kind == "sqlite" else psycopg.connect(url)) as database:
        cursor = database.cursor()
        for statement in (*made, _BY_PROBLEM):
            cursor.execute(statement.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "))
        for table, rows in (
            ("predictions", [_row(record) for record in records]),
            ("outcomes", [(o.prediction_id, "housing", o.actual, o.known_at) for o in outcomes]),
        ):
            marks = ", ".join([mark] * (15 if table == "predictions" else 4))
            cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
        database.commit()


def _row(record: Record) -> tuple[object, ...]:
    """The fields in their order, the features as JSON."""
    *before, row = astuple(record)[:6]
    return (*before, json.dumps(row), *astuple(record)[6:])
