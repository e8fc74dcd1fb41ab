"""Records in a PostgreSQL that others use, that goes away, or is not there."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from cli.server import free_port
from engine.domain.errors import RecordsUnavailable, UnknownPrediction
from engine.serving.recorder import Recorder
from engine.stores.records import SqlRecords
from tests.blocks import put
from tests.contracts.test_growth import FEW, RECORDS, statements, with_records
from tests.contracts.test_records import Answers, ids, outcome, read, record
from tests.postgres import PostgresServer

ENOUGH = 20_000
"""Of fewer rows, PostgreSQL reads the whole table, and is right."""

TABLE = re.compile(r"\bon (answers|outcomes)\b")


def test_asking_makes_no_table(postgresql: str) -> None:
    with closing(SqlRecords(postgresql)) as records, psycopg.connect(postgresql) as people:
        assert read(records) == []
        assert people.execute("select * from pg_tables where tablename = 'outcomes'").rowcount == 0


def test_text_is_ordered_alike_whatever_the_language_of_postgresql(postgresql: str) -> None:
    with closing(SqlRecords(postgresql)) as records, psycopg.connect(postgresql) as people:
        put(records, [record("a")])
        query = """select column_name from information_schema.columns
                   where table_name = 'answers' and collation_name = 'C'"""
        assert {"id", "at", "version"} <= {row[0] for row in people.execute(query)}


def test_no_statement_reads_a_whole_table(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.watching.recent.LOOKED_AT", FEW)
    with (
        closing(with_records(postgresql, ENOUGH, "all")) as records,
        psycopg.connect(postgresql, autocommit=True) as people,
    ):
        people.execute("ANALYZE")
        with statements() as said:
            for act in RECORDS.values():
                act(records)
        plans = [people.execute(f"EXPLAIN {one}", given).fetchall() for one, given in said]
        looks = [line for plan in plans for (line,) in plan if TABLE.search(line)]
        assert len(looks) > len(RECORDS)
        assert not [line for line in looks if "Seq Scan" in line]


def test_what_is_being_forgotten_gets_no_outcome_and_what_is_held_is_passed_over(
    postgresql: str,
) -> None:
    with closing(SqlRecords(postgresql)) as records, ThreadPoolExecutor(1) as pool:
        put(records, [record("a"), record("b", 1)])
        with psycopg.connect(postgresql) as other:
            other.execute("delete from answers where id = 'a'")
            said = pool.submit(records.label, "housing", [outcome("a")])
            assert records.forget("2030", 1) == 1
            assert not said.done()
        with pytest.raises(UnknownPrediction):
            said.result()
        assert ids(records) == []


def test_two_who_report_the_same_in_another_order_do_not_block_each_other(postgresql: str) -> None:
    mine = "insert into outcomes values (%s, 'housing', 1.0, 'now')"
    blocked = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    with closing(SqlRecords(postgresql)) as records, ThreadPoolExecutor(1) as pool:
        put(records, [record("a"), record("b")])
        with (
            psycopg.connect(postgresql) as other,
            psycopg.connect(postgresql, autocommit=True) as admin,
        ):
            other.execute(mine, ["a-0"])
            said = pool.submit(records.label, "housing", [outcome("b"), outcome("a")])
            while admin.execute(blocked).rowcount == 0:
                time.sleep(0.01)
            other.execute(mine, ["b-0"])
        assert said.result() == 0


def test_a_server_that_went_away_is_told_and_found_again(
    postgresql: str, postgres_server: PostgresServer
) -> None:
    with closing(SqlRecords(postgresql)) as records:
        put(records, [record("a")])
        with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
            database = postgresql.split("/")[3].split("?")[0]
            query = (
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
            )
            assert admin.execute(query, [database]).rowcount == 1
        with pytest.raises(RecordsUnavailable, match=r"terminat|closed"):
            put(records, [record("b")])
        put(records, [record("b")])
        assert ids(records) == ["a", "b"]


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    url = f"postgres://somebody:secret@127.0.0.1:{free_port()}/records"
    with closing(SqlRecords(url)) as records:
        with pytest.raises(RecordsUnavailable, match=r"[Rr]efused") as refusal:
            put(records, [record("a")])
        with pytest.raises(RecordsUnavailable):
            read(records)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.fixture
def recorder(postgresql: str) -> Iterator[Recorder]:
    """It has written "first", on the connection it goes on to use."""
    with closing(SqlRecords(postgresql)) as records:
        recorder = Recorder(records, mode="durable", limit=3, tell=lambda *_: None)
        with closing(recorder):
            assert asyncio.run(recorder.keep(answer("first"))) == "committed"
            yield recorder
        recorder._thread.join()


def answer(id_: str) -> Answers:
    return Answers([record(id_)])


async def answered(recorder: Recorder) -> list[str]:
    """What became of five answers; only the first of them may wait."""
    said = [await recorder.keep(answer("0"))]
    async with asyncio.timeout(0.5):
        return said + [await recorder.keep(answer(str(number))) for number in range(1, 5)]


def test_a_table_that_is_locked_holds_up_no_answer_and_is_written_later(
    recorder: Recorder, postgresql: str
) -> None:
    with psycopg.connect(postgresql) as other:
        other.execute("lock table answers")
        assert asyncio.run(answered(recorder)) == ["queued"] * 3 + ["dropped"] * 2
        assert "lock timeout" in recorder.refusal
    while recorder.refusal:
        time.sleep(0.01)
    with closing(SqlRecords(postgresql)) as records:
        assert ids(records) == ["0", "1", "2", "first"]


def test_a_server_that_hangs_holds_up_no_answer_and_no_end(
    recorder: Recorder, postgres_server: PostgresServer, postgresql: str
) -> None:
    database = postgresql.split("/")[3].split("?")[0]
    query = "select pid from pg_stat_activity where datname = %s"
    with psycopg.connect(postgres_server.url()) as admin:
        ((pid,),) = admin.execute(query, [database]).fetchall()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert asyncio.run(answered(recorder)) == ["queued"] * 3 + ["dropped"] * 2
        assert recorder.refusal == "the store has not answered for 2 s"
        start = time.monotonic()
        recorder.close()
        assert time.monotonic() - start < 3.5
    finally:
        os.kill(pid, signal.SIGCONT)
    recorder._thread.join()
    assert (recorder.waiting, recorder.dropped) == (0, 5)
