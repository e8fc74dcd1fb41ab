"""What is asked of a database costs the same however large its tables are.

SQLite has no statistics here, as in service: the words of a statement alone decide on the index.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from engine.domain.errors import UnknownPrediction
from engine.domain.features import Features
from engine.domain.history import Event
from engine.domain.record import RecordQuery
from engine.domain.version import Version
from engine.stores.features import SqlFeatures
from engine.stores.records import SqlRecords
from engine.stores.registry import SqlRegistry
from engine.watching.recent import recent_records
from tests.blocks import put
from tests.contracts.test_records import outcome, record

FEW = 20
SMALL, LARGE = 300, 3_000
FLAT = 1.5
KNOWN: dict[str, Callable[[int], range]] = {
    "all": lambda rows: range(rows),
    "few": lambda rows: range(0, rows, rows // FEW),
    "old": lambda rows: range(FEW),
}
"""Which of so many rows have an outcome."""
Act = Callable[[Any], object]


def with_records(url: str, rows: int = SMALL, known: str = "few") -> SqlRecords:
    """Predictions, one a second."""
    records = SqlRecords(url)
    put(records, [record(name(number), at=at(number)) for number in range(rows)])
    records.label("housing", [outcome(name(number)) for number in KNOWN[known](rows)])
    return records


def with_features(url: str) -> SqlFeatures:
    features = SqlFeatures(url)
    features.put("basket", [said("a"), said("b")])
    return features


def with_history(url: str) -> SqlRegistry:
    registry = SqlRegistry(url)
    registry.append("housing", happened(1))
    return registry


def name(number: int) -> str:
    return f"{number:08}"


def at(number: int) -> str:
    return f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"


def said(key: str) -> Features:
    return Features(key, "2026", {"x": 1.0})


def happened(number: int) -> Event:
    return Event(number, "2026", "trained", Version.parse("v1.0.0"), None, "tests", "why")


def label_nobody(records: SqlRecords) -> None:
    with suppress(UnknownPrediction):
        records.label("housing", [outcome("nobody")])


def with_unit(records: SqlRecords) -> SqlRecords:
    put(records, [record("x", at="2020-01", unit="user 7"), record("y", unit="user 8")])
    return records


def read(**limits: Any) -> Act:
    return lambda records: list(records.read(RecordQuery("housing", **limits)))


RECORDS: dict[str, Act] = {
    "append": lambda records: put(records, [record("x", at=at(LARGE))]),
    "label": lambda records: records.label("housing", [outcome(name(31)), outcome(name(37))]),
    "label again": lambda records: records.label("housing", [outcome(name(0))]),
    "label nobody": label_nobody,
    "forget": lambda records: records.forget("2030", FEW),
    "append units": lambda records: put(records, [record("x", at=at(LARGE), unit="user 7")]),
    "forget a unit": lambda records: with_unit(records).forget("2020-02", FEW),
    "erase": lambda records: with_unit(records).erase("housing", "user 7"),
    "forget nothing": lambda records: records.forget("2020", FEW),
    "read a minute": read(since=at(60), until=at(120)),
    "read newest": read(newest=FEW),
    "read newest since": read(newest=FEW, since=at(0)),
    "read newest known": read(newest=FEW, with_outcome=True),
    "read newest known since": read(newest=FEW, with_outcome=True, since=at(0)),
    "look": lambda records: recent_records(records, "housing", since=at(0)),
}
OTHERS: dict[str, tuple[Callable[[str], Any], Act]] = {
    "features get": (with_features, lambda store: store.get("basket", ["a", "b"], "2030")),
    "features get nobody": (with_features, lambda store: store.get("basket", ["x"], "2030")),
    "features history": (with_features, lambda store: list(store.history("basket", ["a"]))),
    "features put": (with_features, lambda store: store.put("basket", [said("a"), said("c")])),
    "features count": (with_features, lambda store: store.count("basket")),
    "registry append": (with_history, lambda registry: registry.append("housing", happened(2))),
    "registry history": (with_history, lambda registry: registry.history("housing")),
    "registry length": (with_history, lambda registry: registry.length("housing")),
}
WHOLE: dict[str, Act] = {"read": read(), "read since": read(since=at(1))}
PLANNED = {
    **{f"records {act}": (with_records, RECORDS[act]) for act in RECORDS},
    **{f"records {act} everything": (with_records, WHOLE[act]) for act in WHOLE},
    **OTHERS,
}
LOOK = re.compile(r"(?:SCAN|SEARCH) (\w+)(?:.*\((.+)\))?")
"""At which table, by which columns."""
ALL_OF_A_PROBLEM = {(table, "problem=?") for table in ("answers", "predictions", "outcomes")}
NO_TABLE = re.compile(r"anon_\d+|asked|\d+|CONSTANT")
"""Subqueries, lists of parameters, and a single row of them."""


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is asked of any database meanwhile, with its parameters."""
    found = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)", statement):
            found.append((statement, parameters[0] if rest[-1] else parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def plan(url: str, statement: str, parameters: Any) -> list[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    return [row[3] for row in rows]


@pytest.mark.parametrize("what", PLANNED)
def test_every_statement_finds_its_rows_by_a_key(what: str, sqlite: str) -> None:
    """All records of a problem are only read by who wants them all, in order, or up to a limit."""
    make, act = PLANNED[what]
    store = make(sqlite)
    with statements() as found:
        act(store)
    assert found
    for statement, parameters in found:
        details = plan(sqlite, statement, parameters)
        for look in filter(None, map(LOOK.match, details)):
            table, columns = look.groups()
            assert columns or NO_TABLE.fullmatch(table), (statement, look.string)
            if (table, columns) in ALL_OF_A_PROBLEM:
                assert what.endswith("everything") or "LIMIT" in statement, (statement, details)
        if what.endswith("everything"):
            assert "USE TEMP B-TREE FOR ORDER BY" not in details, "it streams"


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("what", RECORDS)
def test_ten_times_the_rows_take_no_more_steps(
    what: str, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of SQLite's virtual machine: no clock, no chance."""
    monkeypatch.setattr("engine.watching.recent.LOOKED_AT", FEW)
    steps = [
        steps_of(RECORDS[what], f"sqlite:///{tmp_path / str(rows)}.db", rows, known=known)
        for rows in (SMALL, LARGE)
    ]
    assert 0 < steps[1] < FLAT * steps[0]


def steps_of(act: Act, url: str, rows: int, *, known: str) -> int:
    steps, is_made = 0, False
    connections: list[sqlite3.Connection] = []

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def watch(connection: sqlite3.Connection, record: Any) -> None:
        connections.append(connection)
        if is_made:
            connection.set_progress_handler(count, 1)

    event.listen(Engine, "connect", watch)
    try:
        with closing(with_records(url, rows, known)) as records:
            is_made = True
            for connection in connections:
                connection.set_progress_handler(count, 1)
            act(records)
    finally:
        event.remove(Engine, "connect", watch)
    return steps
