"""Records in an SQLite file that is locked, full, damaged, removed or read-only."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from threading import Timer

import pytest

from cli.server import ROOT
from engine.assemble import open_records
from engine.domain.errors import RecordsUnavailable
from engine.stores.databases import Database
from engine.stores.records import BUSY_SECONDS, SqlRecords
from engine.stores.tables import TABLES
from tests.blocks import put
from tests.conftest import empty_settings
from tests.contracts.test_records import ids, outcome, read, record


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.db"


@pytest.fixture
def records(sqlite: str) -> Iterator[SqlRecords]:
    with closing(SqlRecords(sqlite)) as records:
        yield records


def test_asking_makes_no_file(records: SqlRecords, tmp_path: Path) -> None:
    assert read(records) == []
    assert records.forget("2030", 9) == 0
    assert list(tmp_path.iterdir()) == []


def test_records_are_kept_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path)
    with closing(open_records(settings)) as records:
        assert not settings.data_dir.exists()
        put(records, [record("a")])
    assert (settings.data_dir / "records.db").exists()
    elsewhere = empty_settings(tmp_path, records_url=f"sqlite:///{tmp_path / 'mine.db'}")
    with closing(open_records(elsewhere)) as records:
        put(records, [record("b")])
    assert (tmp_path / "mine.db").exists()


def test_what_answered_when_and_what_became_true_is_plain_sql_that_people_can_read(
    records: SqlRecords, file: Path
) -> None:
    put(records, [record("a", unit="user 7")])
    records.label("housing", [outcome("a", 1.5)])
    with closing(sqlite3.connect(file)) as people:
        query = """select answers.id, version, variant, first, rows, at, unit, actual from answers
                   join units using (problem, id) join outcomes on prediction_id like id || '-%'"""
        said = ("a", "v1.0.0", "champion", 0, 1, "2026-01-01T00:00:00.000Z", "user 7", 1.5)
        assert people.execute(query).fetchall() == [said]


def test_what_is_erased_is_not_left_in_the_file(records: SqlRecords, file: Path) -> None:
    """But for what is written ahead, until that is written back."""
    mine, others = ({"notes": f"of {name}", "x": 1.0} for name in ("nobody else", "others"))
    put(records, [record(f"{number}", row=mine, unit="user 7") for number in range(200)])
    put(records, [record("other", row=others, unit="user 8")])
    assert records.erase("housing", "user 7") == 200
    with closing(sqlite3.connect(file)) as people:
        people.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    left = file.read_bytes()
    assert b"of others" in left
    assert b"of nobody" not in left
    assert b"user 7" not in left


def test_a_commit_waits_for_the_disk_and_not_for_readers(records: SqlRecords, sqlite: str) -> None:
    put(records, [record("a")])
    database = Database(
        sqlite,
        role="records",
        tables=TABLES,
        unavailable=RecordsUnavailable,
        busy_seconds=1,
        keep=True,
    )
    with closing(database), database.adding() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert settings == ["wal", 2, 1_000]


def test_a_short_lock_is_waited_for(
    sqlite: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.stores.records.BUSY_SECONDS", 60)
    with closing(SqlRecords(sqlite)) as records:
        put(records, [record("a")])
        with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            release = Timer(0.3, other.execute, ["COMMIT"])
            release.start()
            put(records, [record("b")])
            release.join()
        assert ids(records) == ["a", "b"]


def test_a_short_lock_is_waited_for_before_the_first_record_too(
    sqlite: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait where it is told to write ahead from now on."""
    monkeypatch.setattr("engine.stores.records.BUSY_SECONDS", 60)
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = Timer(0.3, other.execute, ["COMMIT"])
        release.start()
        with closing(SqlRecords(sqlite)) as records:
            put(records, [record("a")])
            assert ids(records) == ["a"]
        release.join()


def test_a_long_lock_is_told(records: SqlRecords, file: Path) -> None:
    put(records, [record("a")])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(RecordsUnavailable, match=r"^the records cannot be used: .*locked$"):
            put(records, [record("c")])
        assert BUSY_SECONDS * 0.9 < time.monotonic() - start < BUSY_SECONDS + 5
        assert ids(records) == ["a"]
    put(records, [record("d")])
    assert ids(records) == ["a", "d"]


def test_who_waits_for_another_thread_writes_as_soon_as_that_has_written(
    records: SqlRecords,
) -> None:
    """SQLite itself looks again after 328 and 428 ms of waiting, and may find the next one writing.
    A busy machine delays some, hardly all of them."""
    put(records, [record("a")])
    delays = []
    with ThreadPoolExecutor(1) as pool:
        for number in range(5):
            with records._database.adding():
                waiting = pool.submit(put, records, [record(str(number))])
                time.sleep(0.34)
            released = time.monotonic()
            waiting.result()
            delays.append(time.monotonic() - released)
    assert min(delays) < 0.05


def test_who_has_waited_for_another_thread_for_too_long_is_told(records: SqlRecords) -> None:
    put(records, [record("a")])
    with (
        ThreadPoolExecutor(1) as pool,
        records._database.adding(),
        pytest.raises(RecordsUnavailable, match="another thread has been writing for 1 s"),
    ):
        pool.submit(put, records, [record("b")]).result()
    assert ids(records) == ["a"]


def test_a_read_only_database_can_be_read(records: SqlRecords, file: Path) -> None:
    put(records, [record("a")])
    with closing(SqlRecords(f"sqlite:///file:{file}?mode=ro&uri=true")) as reader:
        assert ids(reader) == ["a"]
        for attempt in (
            lambda: put(reader, [record("b")]),
            lambda: reader.label("housing", [outcome("a")]),
            lambda: reader.forget("2030", 9),
        ):
            with pytest.raises(RecordsUnavailable, match="readonly"):
                attempt()
    assert ids(records) == ["a"]


def test_a_damaged_file_is_told(records: SqlRecords, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(RecordsUnavailable, match="not a database"):
        read(records)
    with pytest.raises(RecordsUnavailable, match="not a database"):
        put(records, [record("a")])


def test_a_file_in_the_place_of_the_folder_is_told(records: SqlRecords, file: Path) -> None:
    file.parent.write_text("in the way")
    with pytest.raises(RecordsUnavailable, match="cannot be used"):
        put(records, [record("a")])


@pytest.mark.parametrize("removed", ["store.db", "store.db*"])
def test_a_file_that_was_removed_is_made_again(
    records: SqlRecords, file: Path, removed: str
) -> None:
    put(records, [record("a")])
    for left in file.parent.glob(removed):
        left.unlink()
    assert ids(records) == []
    put(records, [record("b")])
    with closing(sqlite3.connect(file)) as people:
        assert people.execute("select id from answers").fetchall() == [("b",)]


IDLE = """
import sys
from contextlib import closing
from engine.stores.records import SqlRecords
from tests.blocks import put
from tests.contracts.test_records import record

with closing(SqlRecords(sys.argv[1])) as records:
    put(records, [record("before")])
    print("ready", flush=True)
    sys.stdin.readline()
    put(records, [record("awake")])
"""


def test_a_file_that_was_removed_is_made_again_beside_a_process_that_holds_the_old_one(
    records: SqlRecords, file: Path, sqlite: str
) -> None:
    script = [sys.executable, "-W", "error", "-c", IDLE, sqlite]
    with subprocess.Popen(script, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) as idle:
        assert idle.stdout is not None
        assert idle.stdout.readline() == "ready\n"
        put(records, [record("a")])
        file.unlink()
        put(records, [record("b")])
        put(records, [record("c")])
        idle.communicate("go\n")
        put(records, [record("d")])
    assert idle.returncode == 0
    with closing(SqlRecords(sqlite)) as others:
        assert ids(others) == ["awake", "b", "c", "d"]


def test_a_file_that_was_replaced_is_written_to(records: SqlRecords, file: Path) -> None:
    put(records, [record("a")])
    other = file.with_name("other.db")
    with closing(SqlRecords(f"sqlite:///{other}")) as backup:
        put(backup, [record("b")])
    for left in file.parent.glob("store.db-*"):
        left.unlink()
    other.replace(file)
    put(records, [record("c")])
    assert ids(records) == ["b", "c"]


FULL = """
import resource, sys
from contextlib import closing
from engine.domain.errors import RecordsUnavailable
from engine.stores.records import SqlRecords
from tests.blocks import put
from tests.contracts.test_records import ids, record

with closing(SqlRecords(sys.argv[1])) as records:
    put(records, [record("first")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    kept = ["first"]
    try:
        while True:
            some = [record(f"{len(kept)}-{row}", unit="x" * 1_000) for row in range(10)]
            put(records, some)
            kept += [one.id.removesuffix("-0") for one in some]
    except RecordsUnavailable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(len(kept) > 10 and sorted(ids(records)) == sorted(kept))
    put(records, some)
    print(len(ids(records)) == len(kept) + 10)
"""


def test_a_full_disk_is_told_and_loses_nothing(sqlite: str) -> None:
    script = [sys.executable, "-W", "error", "-c", FULL, sqlite]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    reason, *claims = done.stdout.splitlines()
    assert reason.startswith("the records cannot be used: "), done.stderr
    assert claims == ["True", "True"], done.stderr
