"""Every adapter behind the port `Registry` keeps the same promises."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from engine.domain import history
from engine.domain.errors import Outpaced, RegistryUnavailable, UnknownVersion
from engine.domain.history import Event
from engine.domain.ports import Registry
from engine.domain.traffic import CANARY, Traffic, Variant
from engine.domain.version import Version
from engine.stores.registry import MemoryRegistry, SqlRegistry

TRAFFIC = Traffic((Variant(Version.parse("v1.1.0-rc.1"), CANARY, ((0, 100),)),), "salt")
OLD_TABLE = """
create table champion_history (
    problem varchar(100), number integer, at varchar(40), action varchar(40),
    version varchar(100), challenger varchar(100), who varchar(200), why varchar(2000),
    primary key (problem, number)
);
insert into champion_history values
    ('housing', 1, '2026-01-01T00:01:00.000Z', 'promoted', 'v1.0.0', null, 'tests', 'why — ü')
"""


@pytest.fixture(params=["memory", "postgresql", "sqlite"])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "memory":
        return MemoryRegistry()
    return SqlRegistry(request.getfixturevalue(request.param))


def event(number: int, version: str = "v1.0.0", action: str = "promoted") -> Event:
    at = f"2026-01-01T00:{number:02}:00.000Z"
    return Event(number, at, action, Version.parse(version), None, "tests", "why — ü")


def test_what_was_appended_is_the_history(registry: Registry) -> None:
    events = [event(1), event(2, "v1.1.0"), event(3, "v1.1.0", history.Action.KEPT)]
    events.append(replace(event(4, "v1.1.0"), traffic=TRAFFIC))
    for one in events:
        registry.append("housing", one)
    assert registry.history("housing") == events
    assert registry.length("housing") == 4


def test_problems_do_not_see_each_other(registry: Registry) -> None:
    registry.append("housing", event(1))
    assert registry.history("churn") == []
    assert registry.length("churn") == 0
    registry.append("churn", event(1, "v2.0.0"))
    assert history.champion(registry.history("housing")) == Version.parse("v1.0.0")


@pytest.mark.parametrize("number", [1, 3])
def test_an_event_decided_on_another_past_is_outpaced(registry: Registry, number: int) -> None:
    registry.append("housing", event(1))
    with pytest.raises(Outpaced, match=f"event {number}"):
        registry.append("housing", event(number, "v9.0.0"))
    assert registry.length("housing") == 1


def test_of_many_writers_at_once_exactly_one_wins(registry: Registry) -> None:
    registry.append("housing", event(1))

    def attempt(number: int) -> bool:
        try:
            registry.append("housing", event(2, f"v1.{number}.0"))
        except Outpaced:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 1
    assert registry.length("housing") == 2


def test_the_history_tells_what_was_and_what_comes_next() -> None:
    past = [
        event(1),
        event(2, "v1.1.0"),
        event(3, "v1.1.0", history.Action.KEPT),
        event(4, "v1.0.0"),
    ]
    assert history.since(past[:3]) == "2026-01-01T00:02:00.000Z"
    assert str(history.before(past)) == "v1.1.0"
    left = [Version.parse("v1.4.0"), Version.parse("v1.9.0-rc.1")]
    assert str(history.next_minor(past, [])) == "v1.2.0"
    assert str(history.next_minor(past, left)) == "v1.5.0"
    assert str(history.next_patch(past[:3], left)) == "v1.1.1"
    assert str(history.next_major(past, left)) == "v2.0.0"
    assert history.servable(past, left) == left[1:]
    with pytest.raises(UnknownVersion, match="no earlier champion"):
        history.before(past[:1])


def judged(number: int, version: str, challenger: str) -> Event:
    action = history.Action.KEPT if number % 2 else "promoted"
    return replace(event(number, version, action), challenger=Version.parse(challenger))


def test_attempts_count_whatever_was_judged_against_these_trees() -> None:
    past = [
        event(1),
        judged(2, "v1.0.0", "v1.1.0-rc.1"),
        judged(3, "v1.0.1", "v1.0.1-rc.1"),
        judged(4, "v1.0.1", "v1.1.0-rc.2"),
        judged(5, "v1.1.0", "v1.1.0-rc.3"),
    ]
    assert [history.attempts(past[:n]) for n in range(6)] == [0, 0, 1, 1, 2, 0]
    assert history.attempts([*past, judged(6, "v1.1.0", "v1.2.0-rc.1")]) == 1
    assert history.attempts([*past, event(6, "v1.0.0", "rolled back")]) == 3


def test_a_damaged_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database, but long enough to be looked at" * 99)
    registry = SqlRegistry(f"sqlite:///{tmp_path / 'registry.db'}")
    with pytest.raises(RegistryUnavailable, match="cannot be used"):
        registry.history("housing")


def test_a_history_from_before_there_was_traffic_is_read_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    with closing(sqlite3.connect(file)) as release_before:
        release_before.executescript(OLD_TABLE)
    registry = SqlRegistry(f"sqlite:///{file}")
    assert registry.history("housing") == [event(1)]
    goes_on = [replace(event(2), traffic=TRAFFIC), event(3)]
    for one in goes_on:
        registry.append("housing", one)
    assert registry.history("housing") == [event(1), *goes_on]


def test_a_history_in_postgresql_from_before_there_was_traffic_goes_on(postgresql: str) -> None:
    with psycopg.connect(postgresql) as release_before:
        release_before.execute(OLD_TABLE)
    registry = SqlRegistry(postgresql)
    assert registry.history("housing") == [event(1)]
    registry.append("housing", replace(event(2), traffic=TRAFFIC))
    assert registry.history("housing") == [event(1), replace(event(2), traffic=TRAFFIC)]


def test_an_event_that_a_database_refuses_is_told(postgresql: str) -> None:
    with pytest.raises(RegistryUnavailable, match="too long"):
        SqlRegistry(postgresql).append("housing", replace(event(1), why="x" * 2_001))


def test_asking_creates_nothing(tmp_path: Path) -> None:
    registry = SqlRegistry(f"sqlite:///{tmp_path / 'registry.db'}")
    assert registry.history("housing") == []
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_plain_sql_that_people_can_read(tmp_path: Path) -> None:
    SqlRegistry(f"sqlite:///{tmp_path / 'registry.db'}").append("housing", event(1))
    with closing(sqlite3.connect(tmp_path / "registry.db")) as database:
        rows = list(database.execute("select problem, number, version from champion_history"))
    assert rows == [("housing", 1, "v1.0.0")]
