"""What records and history ask of a database, whichever it is."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest

from engine.domain.errors import InvalidSetting, OutcomeConflict, RecordsUnavailable
from engine.domain.record import Record
from engine.stores.records import MOST_ROWS, SqlRecords
from engine.stores.registry import SqlRegistry
from tests.blocks import put
from tests.contracts.test_records import ids, outcome, read, record


def report(url: str, actual: float) -> list[bool]:
    """For each of 40 predictions, whether this process was the first to say what came true."""
    with closing(SqlRecords(url)) as records:
        wins = []
        for number in range(40):
            try:
                wins.append(records.label("housing", [outcome(str(number), actual)]) == 1)
            except OutcomeConflict:
                wins.append(False)
        return wins


def meet(barrier: Any) -> None:
    barrier.wait(60)


def test_of_two_processes_exactly_one_wins_each_prediction(database: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = (spawn.Barrier(2),)
    with closing(SqlRecords(database)) as records:
        put(records, [record(str(number)) for number in range(40)])
        with ProcessPoolExecutor(2, spawn, meet, barrier) as pool:
            first, second = pool.map(report, [database] * 2, [1.0, 2.0])
        assert [one != other for one, other in zip(first, second, strict=True)] == [True] * 40
        found = dict(zip(ids(records), (one.outcome for one in read(records)), strict=True))
    assert found == {str(n): outcome(str(n), 1.0 if won else 2.0) for n, won in enumerate(first)}


def test_many_who_come_first_at_once_all_get_their_tables(database: str) -> None:
    together = Barrier(8)

    def append(number: int) -> None:
        with closing(SqlRecords(database)) as records:
            together.wait()
            put(records, [record(str(number))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    with closing(SqlRecords(database)) as records:
        assert ids(records) == [str(number) for number in range(8)]


def test_a_table_that_was_dropped_is_told_and_made_again(database: str) -> None:
    with closing(SqlRecords(database)) as records:
        put(records, [record("a")])
        with closing(SqlRecords(database)) as other, other._database.adding() as people:
            people.exec_driver_sql("DROP TABLE answers")
        with pytest.raises(RecordsUnavailable, match="answers"):
            put(records, [record("b")])
        put(records, [record("b")])
        assert ids(records) == ["b"]


def test_what_a_database_never_takes_is_no_outage_and_takes_nothing_along(database: str) -> None:
    many = [record(f"{number:05}") for number in range(MOST_ROWS)]
    with closing(SqlRecords(database)) as records:
        with pytest.raises(ValueError, match="surrogates"):
            put(records, [*many, record("half", unit="\ud800")])
        assert ids(records) == []
        put(records, many)


@pytest.mark.parametrize("refused", [record("b", variant="nul\0"), record("b", version="v" * 101)])
def test_what_postgresql_alone_refuses_is_no_outage(
    postgresql: str, sqlite: str, refused: Record
) -> None:
    with closing(SqlRecords(postgresql)) as records:
        with pytest.raises(ValueError, match="the database refuses it"):
            put(records, [record("a"), refused])
        assert ids(records) == []
    with closing(SqlRecords(sqlite)) as records:
        put(records, [refused])
        assert ids(records) == ["b"]


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://host:port/name",
        "postgresql+nonsense://host/name",
        "mysql://host/name",
        "oracle+oracledb://host/name",
    ],
)
def test_a_url_that_cannot_work_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^RECORDS_URL: "):
        SqlRecords(url)
    if not url.startswith(("mysql", "oracle")):
        with pytest.raises(InvalidSetting, match=r"^REGISTRY_URL: "):
            SqlRegistry(url)
