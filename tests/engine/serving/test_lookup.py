"""What a caller named becomes rows: looked up within a budget, or else the fallback."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from threading import Event, active_count
from typing import Any

import pytest

from cli.server import ROOT, free_port
from engine.domain.columns import Category, Number
from engine.domain.errors import UnknownEntity
from engine.domain.features import Features
from engine.domain.kinds import REAL
from engine.domain.prediction import Entities, Instances
from engine.domain.problem import Lookup, Problem
from engine.domain.schema import Row, Schema, Target
from engine.serving import lookup
from engine.serving.lookup import BUSY, FAILING, INVALID, LAST_SECONDS, SLOW, THREADS, Resolver
from engine.stores.features import MemoryFeatures, SqlFeatures
from engine.stores.redis_features import RedisFeatures
from tests.redis_server import program, redis_server

AT = "2026-11-01T12:00:00.000Z"
LATER = "2026-11-01T12:00:00.001Z"
FALLBACK: Row = {"visits": 1.0, "plan": "free"}
KNOWN: Row = {"visits": 7, "plan": "paid"}
BUDGET = 0.25


def nothing(rows: int, seed: int) -> Mapping[str, Any]:
    raise AssertionError


VISITS = Problem(
    name="visits",
    title="Visits",
    schema=Schema(
        (
            Number("visits", "visits", "So far.", 0, 100, 1),
            Category("plan", "What is paid.", ("free", "paid"), "free", may_be_missing=True),
        )
    ),
    target=Target("spent", "USD", "Spent.", 0, 1, REAL),
    contracts=(),
    simulate=None,
    slices=(),
    layouts={},
    lookup=Lookup("user_id", FALLBACK, nothing),
)


class GatedFeatures(MemoryFeatures):
    """It answers while its gate is open, and hangs while it is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.gate.set()
        self.asked = 0
        self.came = Event()

    def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
        self.asked += 1
        self.came.set()
        self.gate.wait()
        return super().get(problem, keys, at)


class Told(list[tuple[str, str]]):
    """What the resolver told of requests that got the fallback, and the last reason."""

    reason = ""

    def __call__(self, problem: str, kind: str, reason: str) -> None:
        self.append((problem, kind))
        self.reason = reason


@pytest.fixture
def store() -> Iterator[GatedFeatures]:
    store = GatedFeatures()
    store.put("visits", [Features(key, AT, KNOWN) for key in ("a", "b")])
    yield store
    store.gate.set()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def resolver(store: GatedFeatures, told: Told) -> Iterator[Resolver]:
    with closing(Resolver(store, budget_seconds=BUDGET, tell=told)) as resolver:
        yield resolver


def entities(*keys: str) -> Entities:
    return Entities.named([*keys])


def resolved(resolver: Resolver, *keys: str, at: str = LATER) -> Instances:
    return asyncio.run(resolver.resolve(VISITS, entities(*keys), lambda: at))


def test_a_request_is_one_look_up_and_keeps_its_order(
    resolver: Resolver, store: GatedFeatures, told: Told
) -> None:
    store.put("visits", [Features("c", AT, {"visits": 3})])
    found = resolved(resolver, "c", "a", "c", "b")
    assert found.rows == [{"visits": 3}, KNOWN, {"visits": 3}, KNOWN]
    assert found.keys == ["c", "a", "c", "b"]
    assert not found.is_degraded
    assert (store.asked, told) == (1, [])


def test_rows_are_those_of_the_time_asked_about(resolver: Resolver, store: GatedFeatures) -> None:
    store.put("visits", [Features("a", LATER, {"visits": 99})])
    assert resolved(resolver, "a", at=AT).rows == [KNOWN]
    assert resolved(resolver, "a", at=LATER).rows == [{"visits": 99}]


def test_what_the_caller_sent_is_not_looked_up(resolver: Resolver, store: GatedFeatures) -> None:
    """On the way no task waits and no thread starts: a coroutine that is done at once."""
    row: Row = {"visits": 5, "plan": None}
    sent = Entities([row, {}, row], ["a", None, "nobody"])
    threads = active_count()
    for problem in (VISITS, replace(VISITS, lookup=None)):
        with pytest.raises(StopIteration) as end:
            resolver.resolve(problem, sent, lambda: AT).send(None)
        found = end.value.value
        assert (found.rows, found.keys) == ([row, {}, row], ["a", None, "nobody"])
    assert (store.asked, active_count()) == (0, threads)


def test_only_what_was_not_sent_is_looked_up(resolver: Resolver) -> None:
    mixed = Entities([{}, None, {"visits": 2}], ["nobody", "a", None])
    found = asyncio.run(resolver.resolve(VISITS, mixed, lambda: LATER))
    assert found.rows == [{}, KNOWN, {"visits": 2}]


def test_columns_that_are_not_declared_are_left_out(
    resolver: Resolver, store: GatedFeatures
) -> None:
    store.put("visits", [Features("a", LATER, {**KNOWN, "of old": 1})])
    assert resolved(resolver, "a").rows == [KNOWN]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["x"], "no features are known for user_id 'x'"),
        (["x" * 999], "no features are known for user_id '" + 99 * "x"),
        (["\0" * 999], "no features are known for user_id '" + "\\x00" * 24 + "\\x0"),
        (
            ["a", "x", "b", "y", "z", "x"],
            "no features are known for user_id 'x' (row 1), 'y' (row 3), 'z' (row 4) and 1 more; "
            "4 of 6 are unknown",
        ),
    ],
)
def test_an_unknown_key_is_refused_by_name_and_row(
    resolver: Resolver, told: Told, keys: list[str], said: str
) -> None:
    with pytest.raises(UnknownEntity) as refusal:
        resolved(resolver, *keys)
    assert str(refusal.value) == said
    assert told == []


def test_a_key_is_unknown_where_the_problem_looks_nothing_up(resolver: Resolver) -> None:
    with pytest.raises(UnknownEntity, match="send the features"):
        asyncio.run(resolver.resolve(replace(VISITS, lookup=None), entities("a"), lambda: AT))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"plan": "free"}, "visits: Field required"),
        ({"visits": "7"}, "visits: Input should be a valid number"),
        ({"visits": True}, "visits: Input should be a valid number"),
        ({"visits": 101}, "visits: Input should be less than or equal to 100"),
        ({"visits": 7, "plan": 1}, "plan: Input should be a valid string"),
    ],
)
def test_a_stored_row_that_breaks_the_schema_is_replaced_for_the_whole_request(
    resolver: Resolver, store: GatedFeatures, told: Told, row: Row, reason: str
) -> None:
    store.put("visits", [Features("a", LATER, row)])
    found = resolved(resolver, "b", "a")
    assert found.is_degraded
    assert (found.rows, found.keys) == ([FALLBACK, FALLBACK], ["b", "a"])
    assert told == [("visits", INVALID)]
    assert told.reason == f"what the store holds breaks the schema: {reason}"
    assert resolved(resolver, "b").rows == [KNOWN]
    assert len(told) == 1


def test_a_broken_row_does_not_make_the_store_one_that_cannot_be_used(
    resolver: Resolver, store: GatedFeatures, told: Told
) -> None:
    store.put("visits", [Features("bad", LATER, {"visits": 101})])
    assert resolved(resolver, "bad").is_degraded
    assert resolver.refusal == ""
    store.gate.clear()
    assert resolved(resolver, "a").is_degraded
    assert resolver.refusal == told.reason == f"no features within {1_000 * BUDGET:g} ms"
    store.gate.set()
    assert resolved(resolver, "bad").is_degraded
    assert resolver.refusal == ""
    assert [kind for _, kind in told] == [INVALID, SLOW, INVALID]


def test_a_store_that_is_slow_is_not_waited_for_and_used_again_at_once(
    resolver: Resolver, store: GatedFeatures, told: Told
) -> None:
    store.gate.clear()
    start = time.monotonic()
    found = resolved(resolver, "a", "nobody")
    assert BUDGET <= time.monotonic() - start < BUDGET + 0.5
    assert found.is_degraded
    assert found.rows == [FALLBACK, FALLBACK]
    assert told == [("visits", SLOW)]
    store.gate.set()
    assert resolved(resolver, "a").rows == [KNOWN]


def test_a_store_that_hangs_holds_up_so_many_threads_and_no_more_requests(
    resolver: Resolver, store: GatedFeatures, told: Told
) -> None:
    async def ask(requests: int) -> list[Instances]:
        asks = (resolver.resolve(VISITS, entities("a"), lambda: LATER) for _ in range(requests))
        return await asyncio.gather(*asks)

    threads = active_count()
    store.gate.clear()
    assert all(found.is_degraded for found in asyncio.run(ask(50)))
    assert sorted(told) == [("visits", BUSY)] * (50 - THREADS) + [("visits", SLOW)] * THREADS
    start = time.monotonic()
    assert all(found.is_degraded for found in asyncio.run(ask(50)))
    assert time.monotonic() - start < BUDGET
    assert set(told[50:]) == {("visits", BUSY)}
    assert active_count() - threads == THREADS == store.asked
    store.gate.set()
    wait_until(lambda: not asyncio.run(ask(1))[0].is_degraded)
    assert not any(found.is_degraded for found in asyncio.run(ask(50)))
    assert store.asked == THREADS + 51  # what was given up is not asked later


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_true():
        assert time.monotonic() < deadline


def test_a_request_that_is_cancelled_leaves_nothing_behind(
    resolver: Resolver, store: GatedFeatures, told: Told
) -> None:
    async def cancelled() -> None:
        asked = asyncio.create_task(resolver.resolve(VISITS, entities("a"), lambda: LATER))
        await asyncio.to_thread(store.came.wait)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    for _ in range(2 * THREADS):
        store.gate.clear()
        store.came.clear()
        asyncio.run(cancelled())
        store.gate.set()
    assert resolved(resolver, "a").rows == [KNOWN]
    assert told == []


def test_whatever_a_store_raises_is_the_fallback_and_no_failure(told: Told) -> None:
    class Broken(MemoryFeatures):
        def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
            raise ZeroDivisionError

    with closing(Resolver(Broken(), budget_seconds=BUDGET, tell=told)) as resolver:
        assert resolved(resolver, "a").rows == [FALLBACK]
        assert (told, resolver.refusal) == ([("visits", FAILING)], "ZeroDivisionError()")


def test_a_server_that_is_not_there_fails_at_once_each_time(told: Told) -> None:
    store = RedisFeatures(f"redis://127.0.0.1:{free_port()}")
    with closing(store), closing(Resolver(store, budget_seconds=5, tell=told)) as resolver:
        start = time.monotonic()
        assert all(resolved(resolver, "a").is_degraded for _ in range(20))
        assert time.monotonic() - start < 2
        assert told == [("visits", FAILING)] * 20
        assert "refused" in resolver.refusal


@pytest.mark.skipif(program() is None, reason="there is no redis-server on this machine")
def test_a_redis_that_hangs_is_not_waited_for_and_used_again_when_it_answers(told: Told) -> None:
    with redis_server() as server, closing(RedisFeatures(server.url())) as store:
        store.put("visits", [Features("a", AT, KNOWN)])
        with closing(Resolver(store, budget_seconds=BUDGET, tell=told)) as resolver:
            assert resolved(resolver, "a").rows == [KNOWN]
            with server.hanging():
                start = time.monotonic()
                assert all(resolved(resolver, "a").is_degraded for _ in range(20))
                assert time.monotonic() - start < THREADS * BUDGET + 0.5
            wait_until(lambda: not resolved(resolver, "a").is_degraded)
            assert resolver.refusal == ""


def test_the_end_waits_for_no_store(store: GatedFeatures, told: Told) -> None:
    resolver = Resolver(store, budget_seconds=0.1, tell=told)
    store.gate.clear()
    for _ in range(THREADS):
        assert resolved(resolver, "a").is_degraded
    start = time.monotonic()
    resolver.close()
    assert time.monotonic() - start < LAST_SECONDS + 0.5


HANGING = """
import asyncio, time
from engine.serving.lookup import Resolver
from tests.engine.serving.test_lookup import GatedFeatures, resolved

store = GatedFeatures()
store.gate.clear()
resolver = Resolver(store, budget_seconds=0.5, tell=print)
print(resolved(resolver, "a").is_degraded)
"""


def test_a_store_that_hangs_does_not_keep_the_process_from_ending() -> None:
    script = [sys.executable, "-W", "error", "-c", HANGING]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    said = "visits slow no features within 500 ms\nTrue\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_many_at_once_wait_for_a_thread_and_all_are_answered(sqlite_store: SqlFeatures) -> None:
    told = Told()

    async def ask(resolver: Resolver) -> list[Instances]:
        asks = (resolver.resolve(VISITS, entities(str(n)), lambda: LATER) for n in range(200))
        return await asyncio.gather(*asks)

    with closing(Resolver(sqlite_store, budget_seconds=10, tell=told)) as resolver:
        found = asyncio.run(ask(resolver))
    assert [one.rows for one in found] == [[{"visits": n % 100}] for n in range(200)]
    assert told == []


@pytest.fixture
def sqlite_store(tmp_path: Any) -> Iterator[SqlFeatures]:
    with closing(SqlFeatures(f"sqlite:///{tmp_path / 'features.db'}")) as store:
        store.put("visits", [Features(str(n), AT, {"visits": n % 100}) for n in range(200)])
        yield store


def test_threads_that_never_come_back_are_replaced_and_the_store_is_used_again(
    resolver: Resolver, store: GatedFeatures, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a server died without a word: those who waited for it wait for ever."""
    monkeypatch.setattr(lookup, "_LOST_SECONDS", 1.2)
    store.gate.clear()
    for _ in range(THREADS):
        assert resolved(resolver, "a").is_degraded
    dead, store.gate = store.gate, Event()
    store.gate.set()
    assert resolved(resolver, "a").is_degraded
    time.sleep(0.6)
    assert not resolved(resolver, "a").is_degraded
    dead.set()
    assert told[-1] == ("visits", BUSY)
