"""Every adapter behind the port `FeatureStore` keeps the same promises."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from cli.server import free_port
from engine.assemble import open_features
from engine.domain.errors import FeaturesUnavailable, InvalidSetting
from engine.domain.features import LONGEST_KEY, Features
from engine.domain.ports import FeatureStore
from engine.domain.schema import Row
from engine.stores.features import MOST_ROWS, MemoryFeatures, SqlFeatures
from engine.stores.redis_features import SILENT_SECONDS, RedisFeatures
from tests.conftest import empty_settings
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, program, redis_server

EARLY, NOON, LATE = (f"2026-11-01T{hour:02}:00:00.000Z" for hour in (6, 12, 18))
ODD_KEYS = [
    "",
    " ",
    "a b",
    "naïve — ü",
    "用户\t7",
    "🏠",
    "nul\0",
    "\\0",
    "\\",
    "'; --",
    "%s ?",
    "[(",
]
ODD_KEYS = [*ODD_KEYS[1:], "\ud800", "\\ud800", "line\nbreak", "x" * LONGEST_KEY]
ADAPTERS = ["memory", "postgresql", "redis", "sqlite"]


@pytest.fixture(scope="session")
def redis_running() -> Iterator[RedisServer]:
    if program() is None:
        pytest.skip("there is no redis-server on this machine: apt-get install redis-server")
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis_running: RedisServer) -> str:
    return redis_running.fresh_database()


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    return str(request.getfixturevalue({"redis": "redis_url"}.get(request.param, request.param)))


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[FeatureStore]:
    with closing(opened(url, tmp_path)) as store:
        yield store


def opened(url: str, folder: Path) -> FeatureStore:
    return open_features(empty_settings(folder, features_url=url))


def said(key: str, at: str = NOON, **row: Any) -> Features:
    return Features(key, at, row or {"x": 1.0})


def known(store: FeatureStore, key: str, at: str = LATE) -> Row | None:
    return store.get("basket", [key], at).get(key)


def test_what_was_put_is_found_and_what_was_not_is_left_out(store: FeatureStore) -> None:
    row: dict[str, Any] = {"x": 1.5, "kind": "naïve 🏠 \0 '", "none": None, "many": 3}
    assert store.put("basket", [said("a", **row), said("b", x=2.0)]) == 2
    assert store.get("basket", ["b", "nobody", "a", "a"], NOON) == {"a": row, "b": {"x": 2.0}}
    assert store.get("basket", [], NOON) == {}
    assert store.count("basket") == 2


def test_a_store_without_anything_of_a_problem_says_so_and_blames_no_key(
    store: FeatureStore,
) -> None:
    with pytest.raises(FeaturesUnavailable, match=r"python -m cli features load --problem basket"):
        store.get("basket", ["a"], NOON)
    assert list(store.history("basket", ["a"])) == []
    assert store.put("basket", []) == 0
    assert store.count("basket") == 0


def test_numbers_come_back_exactly(store: FeatureStore) -> None:
    drawn = np.frombuffer(np.random.default_rng(1).bytes(8 * 600), dtype=np.float64)
    edges = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1 + 0.2, -0.0, 3]
    numbers = [*drawn[np.isfinite(drawn)].tolist(), *edges]
    store.put("basket", [said(f"{n:04}", x=x) for n, x in enumerate(numbers)])
    found = store.get("basket", [f"{n:04}" for n in range(len(numbers))], NOON)
    assert [found[key]["x"] for key in sorted(found)] == numbers


def test_what_came_later_is_not_seen(store: FeatureStore) -> None:
    store.put("basket", [said("a", EARLY, x=1), said("a", LATE, x=3), said("a", NOON, x=2)])
    moments = ["2026-11-01T05:59:59.999Z", EARLY, "2026-11-01T11:59:59.999Z", NOON]
    moments += ["2026-11-01T12:00:00.001Z", LATE, "2030-01-01T00:00:00.000Z"]
    rows = [known(store, "a", at) for at in moments]
    assert [row and row["x"] for row in rows] == [None, 1, 1, 2, 2, 3, 3]


def test_older_rows_that_come_late_hide_nothing(store: FeatureStore) -> None:
    store.put("basket", [said("a", LATE, x=3), said("b", EARLY, x=1)])
    assert store.put("basket", [said("a", EARLY, x=1), said("b", LATE, x=3)]) == 2
    assert store.get("basket", ["a", "b"], LATE) == {"a": {"x": 3}, "b": {"x": 3}}
    assert store.get("basket", ["a", "b"], NOON) == {"a": {"x": 1}, "b": {"x": 1}}


def test_putting_again_changes_nothing_and_counts_nothing(store: FeatureStore) -> None:
    every = [said(str(n), at, x=n) for n in range(50) for at in (EARLY, NOON)]
    assert store.put("basket", every) == 100
    assert store.put("basket", every) == 0
    assert store.put("basket", [*every, said("new")]) == 1
    assert store.count("basket") == 51
    assert [one.at for one in store.history("basket", ["7"])] == [EARLY, NOON]


def test_the_last_one_said_of_a_key_and_a_time_holds(store: FeatureStore) -> None:
    assert store.put("basket", [said("a", x=1), said("a", x=2), said("b", x=9)]) == 2
    assert known(store, "a") == {"x": 2}
    assert store.put("basket", [said("c", x=1), said("a", x=0)]) == 1
    assert store.get("basket", ["a", "b", "c"], NOON) == {
        "a": {"x": 0},
        "b": {"x": 9},
        "c": {"x": 1},
    }
    assert list(store.history("basket", ["a"])) == [said("a", x=0)]


def test_equal_rows_at_two_times_are_two(store: FeatureStore) -> None:
    store.put("basket", [said("a", EARLY, x=1), said("a", NOON, x=1)])
    assert [one.at for one in store.history("basket", ["a"])] == [EARLY, NOON]


def test_a_history_is_each_keys_own_in_the_order_of_time(store: FeatureStore) -> None:
    rows = [said(key, at, x=hour) for key in "ba" for hour, at in enumerate((LATE, EARLY, NOON))]
    store.put("basket", [*rows, said("c")])
    found = list(store.history("basket", ["b", "nobody", "a"]))
    assert len(found) == 6
    for key in "ab":
        mine = [one for one in found if one.key == key]
        assert [(one.at, one.row["x"]) for one in mine] == [(EARLY, 1), (NOON, 2), (LATE, 0)]


def test_problems_do_not_see_each_other(store: FeatureStore) -> None:
    store.put("basket", [said("a", x=1)])
    store.put("basket2", [said("a", x=2), said("b")])
    assert store.get("basket", ["a", "b"], LATE) == {"a": {"x": 1}}
    assert (store.count("basket"), store.count("basket2"), store.count("b")) == (1, 2, 0)


def test_a_key_may_be_any_text(store: FeatureStore) -> None:
    store.put("basket", [said(key, x=n) for n, key in enumerate(ODD_KEYS)])
    assert store.count("basket") == len(ODD_KEYS)
    assert store.get("basket", ODD_KEYS, NOON) == {key: {"x": n} for n, key in enumerate(ODD_KEYS)}
    assert [one.key for key in ODD_KEYS for one in store.history("basket", [key])] == ODD_KEYS


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (said("x" * (LONGEST_KEY + 1)), "a key must have 1 to 400 characters"),
        (said(""), "a key must have 1 to 400 characters"),
        (said("b", x=object()), "the features of 'b' are not JSON"),
        (said("b", x="\ud800"), "the features of 'b' are not JSON"),
    ],
)
def test_what_no_store_keeps_takes_nothing_along(
    store: FeatureStore, wrong: Features, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        store.put("basket", [said("a"), wrong])
    assert store.count("basket") == 0
    assert list(store.history("basket", [wrong.key, "a"])) == []


def test_a_thousand_keys_are_one_look_up(store: FeatureStore) -> None:
    keys = [f"user {n}" for n in range(1_000)]
    store.put("basket", [said(key, at, x=n) for n, key in enumerate(keys) for at in (EARLY, NOON)])
    found = store.get("basket", keys, NOON)
    assert [found[key]["x"] for key in keys] == [*range(1_000)]


def test_more_rows_than_a_statement_takes_are_put_together(store: FeatureStore) -> None:
    many = [said(str(n), x=n) for n in range(MOST_ROWS + 10)]
    assert store.put("basket", many[5:]) == len(many) - 5
    assert store.put("basket", [said(one.key, x=-1) for one in many]) == 5
    assert store.count("basket") == len(many)
    assert {row["x"] for row in store.get("basket", ["0", "77", many[-1].key], NOON).values()} == {
        -1
    }


def test_writers_and_readers_may_come_at_once(store: FeatureStore) -> None:
    together = Barrier(4)

    def write(number: int) -> int:
        together.wait()
        rows = [said(f"{n}", at, x=number) for n in range(60) for at in (EARLY, NOON)]
        return sum(store.put("basket", rows[:: 1 if number % 2 else -1]) for _ in range(4))

    with ThreadPoolExecutor(4) as pool:
        new = sum(pool.map(write, range(4)))
    assert new == 120
    assert store.count("basket") == 60
    assert (
        len({row["x"] for row in store.get("basket", [str(n) for n in range(60)], LATE).values()})
        == 1
    )


@pytest.fixture(params=ADAPTERS[1:])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureStore]:
    """What it has of "a" cannot be read; "b" can."""
    name = {"redis": "redis_url"}.get(request.param, request.param)
    where = request.getfixturevalue(name)
    with closing(opened(where, tmp_path)) as store:
        store.put("basket", [said("a"), said("b")])
        if isinstance(store, SqlFeatures):
            with store._database.adding() as people:
                people.exec_driver_sql("UPDATE known_features SET features = '[' WHERE key = 'a'")
        else:
            with closing(redis.Redis.from_url(where)) as people:
                people.delete("features:basket:a")
                people.zadd("features:basket:a", {f"{NOON} [": 0})
        yield store


def test_a_row_that_cannot_be_read_is_told_without_its_key(damaged: FeatureStore) -> None:
    with pytest.raises(FeaturesUnavailable, match="a key with 1 letters cannot be read"):
        damaged.get("basket", ["a", "b"], NOON)
    assert known(damaged, "b") == {"x": 1.0}


def asks(store: FeatureStore) -> dict[str, Callable[[], Any]]:
    """Each thing that may be asked of a store."""
    return {
        "get": lambda: store.get("basket", ["a"], NOON),
        "history": lambda: list(store.history("basket", ["a"])),
        "put": lambda: store.put("basket", [said("b")]),
        "count": lambda: store.count("basket"),
    }


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
@pytest.mark.parametrize("what", ["get", "history", "put", "count"])
def test_a_server_that_is_not_there_is_told_at_once_without_the_password(
    tmp_path: Path, scheme: str, what: str
) -> None:
    where = f"{scheme}://somebody:secret@127.0.0.1:{free_port()}/0"
    start = time.monotonic()
    with (
        closing(opened(where, tmp_path)) as store,
        pytest.raises(
            FeaturesUnavailable, match=r"features cannot be used: .*[Rr]efused"
        ) as refusal,
    ):
        asks(store)[what]()
    assert time.monotonic() - start < SILENT_SECONDS
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_redis_that_hangs_is_given_up_and_asked_again_when_it_answers(
    redis_running: RedisServer, redis_url: str
) -> None:
    with closing(RedisFeatures(f"{redis_url}?socket_timeout=0.2")) as store:
        store.put("basket", [said("a")])
        with redis_running.hanging():
            for ask in asks(store).values():
                start = time.monotonic()
                with pytest.raises(FeaturesUnavailable, match=r"[Tt]imeout"):
                    ask()
                assert time.monotonic() - start < 1
        assert known(store, "a") == {"x": 1.0}


def test_a_redis_that_was_started_again_is_found_by_the_next_question() -> None:
    if program() is None:
        pytest.skip("there is no redis-server on this machine: apt-get install redis-server")
    with redis_server() as server, closing(RedisFeatures(server.url())) as store:
        store.put("basket", [said("a")])
        server.stop()
        with pytest.raises(FeaturesUnavailable):
            store.get("basket", ["a"], NOON)
        server.start()
        assert store.put("basket", [said("a", x=2)]) == 1
        server.stop()
        server.start()
        with pytest.raises(FeaturesUnavailable, match="the store has no features of basket"):
            store.get("basket", ["a"], NOON)


def test_a_redis_that_is_full_keeps_all_or_none(redis_running: RedisServer, redis_url: str) -> None:
    with (
        closing(RedisFeatures(redis_url)) as store,
        closing(redis.Redis.from_url(redis_url)) as people,
    ):
        store.put("basket", [said("a", x=1)])
        people.config_set("maxmemory", "1")
        try:
            with pytest.raises(FeaturesUnavailable, match="memory"):
                store.put("basket", [said("a", x=2), said("b")])
        finally:
            people.config_set("maxmemory", "0")
        assert store.get("basket", ["a", "b"], NOON) == {"a": {"x": 1}}
        assert store.count("basket") == 1


def test_a_look_up_in_redis_is_one_round_trip(redis_url: str) -> None:
    with (
        closing(RedisFeatures(redis_url)) as store,
        closing(redis.Redis.from_url(redis_url)) as people,
    ):
        store.put("basket", [said(str(n)) for n in range(50)])
        before = people.info("stats")["total_reads_processed"]
        store.get("basket", [str(n) for n in range(50)], NOON)
        assert people.info("stats")["total_reads_processed"] - before == 2  # info's own is one


def test_a_locked_postgresql_table_can_be_read(postgresql: str) -> None:
    with closing(SqlFeatures(postgresql)) as store:
        store.put("basket", [said("a")])
        with psycopg.connect(postgresql) as other:
            other.execute("lock table known_features in exclusive mode")
            assert known(store, "a") == {"x": 1.0}


def test_a_writer_who_updates_and_one_who_inserts_do_not_block_each_other(postgresql: str) -> None:
    mine = "update known_features set features = '{}' where key = 'b'"
    blocked = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    with closing(SqlFeatures(postgresql)) as store, ThreadPoolExecutor(1) as pool:
        store.put("basket", [said("b", x=1)])
        with (
            psycopg.connect(postgresql) as other,
            psycopg.connect(postgresql, autocommit=True) as admin,
        ):
            other.execute(mine)
            put = pool.submit(store.put, "basket", [said("a", x=2), said("b", x=2)])
            while admin.execute(blocked).rowcount == 0:
                time.sleep(0.01)
            other.execute("insert into known_features values ('basket', 'a', %s, '{}')", [NOON])
        assert put.result() == 0
        assert store.get("basket", ["a", "b"], NOON) == {"a": {"x": 2}, "b": {"x": 2}}


def test_a_postgresql_that_went_away_is_told_and_found_again(
    postgresql: str, postgres_server: PostgresServer
) -> None:
    with closing(SqlFeatures(postgresql)) as store:
        store.put("basket", [said("a")])
        with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
            database = postgresql.split("/")[3].split("?")[0]
            query = (
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
            )
            assert admin.execute(query, [database]).rowcount == 1
        with pytest.raises(FeaturesUnavailable, match=r"terminat|closed"):
            store.get("basket", ["a"], NOON)
        assert known(store, "a") == {"x": 1.0}


def test_a_file_that_another_writes_to_can_be_read(sqlite: str, tmp_path: Path) -> None:
    with closing(SqlFeatures(sqlite)) as store:
        store.put("basket", [said("a")])
        with closing(
            sqlite3.connect(tmp_path / "deep" / "store.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM known_features")
            assert known(store, "a") == {"x": 1.0}
            other.execute("ROLLBACK")


def test_the_table_is_plain_sql_that_people_can_read(sqlite: str, tmp_path: Path) -> None:
    with closing(SqlFeatures(sqlite)) as store:
        store.put("basket", [said("a", x=1.5)])
    with closing(sqlite3.connect(tmp_path / "deep" / "store.db")) as people:
        query = "select problem, key, at, features ->> 'x' from known_features"
        assert people.execute(query).fetchall() == [("basket", "a", NOON, 1.5)]


def test_a_damaged_file_is_told(sqlite: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "store.db").write_bytes(b"not a database, but long enough to be" * 99)
    with closing(SqlFeatures(sqlite)) as store:
        for ask in asks(store).values():
            with pytest.raises(FeaturesUnavailable, match="not a database"):
                ask()


def test_features_are_kept_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path)
    with closing(open_features(settings)) as store:
        assert store.count("basket") == 0
        assert not settings.data_dir.exists()
        store.put("basket", [said("a")])
    assert (settings.data_dir / "features.db").exists()


@pytest.mark.parametrize(
    ("url", "adapter"),
    [
        ("memory://", MemoryFeatures),
        ("sqlite:///features.db", SqlFeatures),
        ("postgres://host/name", SqlFeatures),
        ("postgresql://host/name", SqlFeatures),
        ("redis://host:6379/0", RedisFeatures),
        ("rediss://host", RedisFeatures),
    ],
)
def test_the_scheme_of_the_url_chooses_the_adapter(
    tmp_path: Path, url: str, adapter: type[FeatureStore]
) -> None:
    with closing(opened(url, tmp_path)) as store:
        assert isinstance(store, adapter)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "mysql://host/name",
        "redis",
        "redis://host:port",
        "redis://host/?db=x",
        "https://host",
    ],
)
def test_a_url_that_cannot_work_is_a_wrong_setting(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FEATURES_URL: "):
        opened(url, tmp_path)
