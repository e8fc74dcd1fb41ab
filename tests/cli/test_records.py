"""The records from the command line: counted, exported whole or not at all, forgotten on demand."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cli.records import records
from cli.server import ROOT
from engine.assemble import open_records
from engine.domain.record import JoinedRecord, RecordQuery
from engine.settings import Settings
from problems.housing import HOUSING
from tests.replies import KNOWN_AT, houses, keep, replies, script
from tests.scripts import started

DONE, FAILED, MISUSED, TERMINATED = 0, 1, 2, 143
CANDIDATE = "v1.1.0-rc.1"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return script(records, settings, monkeypatch, capsys)


def stored(settings: Settings) -> list[JoinedRecord]:
    with closing(open_records(settings)) as store:
        return list(store.read(RecordQuery("housing")))


@pytest.fixture
def busy(settings: Settings) -> Settings:
    """Ten replies three hours apart, a shadow beside each, an error, three outcomes."""
    rows, prices = houses(10, seed=3)
    answered = replies(settings, rows, minutes=180, unit="agency 7", caller="key 1")
    shadows = replies(settings, rows, minutes=180, version=CANDIDATE, variant="shadow")
    shadows[0] = replace(shadows[0], value=None, lower=None, upper=None, error="OSError: no")
    answered[1] = replace(answered[1], row={**answered[1].row, "garages": 2.0})
    truths = {f"reply-{number}": prices[number] for number in (0, 4, 9)}
    keep(settings, [*answered, *shadows], truths)
    return settings


def test_an_export_holds_every_record_with_its_outcome_to_the_last_bit(
    busy: Settings, run: Run
) -> None:
    out = busy.data_dir / "exports" / "records.parquet"
    assert run("export", "--out", str(out)) == (DONE, f"{out}: 20 records\n", "")
    lines = pq.read_table(out).to_pylist()
    for line, joined in zip(lines, stored(busy), strict=True):
        record, outcome = joined.record, joined.outcome
        facts = ("id", "at", "problem", "version", "variant", "unit", "request_id", "caller")
        numbers = ("level", "value", "lower", "upper", "latency_us", "error")
        for name in (*facts, *numbers):
            assert line[name] == getattr(record, name)
        features = {name: line[f"feature_{name}"] for name in HOUSING.schema.names}
        assert {**features, **json.loads(line["other_features"] or "{}")} == record.row
        truth = (None, None) if outcome is None else (outcome.actual, KNOWN_AT)
        assert (line["actual"], line["known_at"]) == truth
    assert {line["other_features"] for line in lines} == {None, '{"garages": 2.0}'}
    assert [path.name for path in out.parent.iterdir()] == ["records.parquet"]


def test_an_export_keeps_to_the_time_asked_about(busy: Settings, run: Run) -> None:
    out = busy.data_dir / "some.parquet"
    hours = ("--since", "2026-11-01T03:00Z", "--until", "2026-11-01T09")
    assert run("export", "--out", str(out), *hours)[0] == DONE
    assert set(pd.read_parquet(out)["id"]) == {"reply-1", "reply-2"}


def test_an_export_of_nothing_is_a_file_with_all_columns(settings: Settings, run: Run) -> None:
    out = settings.data_dir / "none.parquet"
    assert run("export", "--out", str(out))[0] == DONE
    assert len(pd.read_parquet(out)) == 0
    assert "feature_square_feet" in pd.read_parquet(out)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_is_killed_leaves_the_file_as_it_was(
    settings: Settings, how: signal.Signals
) -> None:
    """It is stopped after the first of two row groups."""
    rows = houses(200, seed=3)[0] * 200
    first = replies(settings, rows[:1])[0]
    keep(settings, [replace(first, id=f"r-{n}", row=row) for n, row in enumerate(rows)])
    out = settings.data_dir / "exports" / "records.parquet"
    out.parent.mkdir()
    out.write_text("of yesterday")
    command = [*started("records"), "export", "--out", str(out)]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(settings.data_dir)}
    with subprocess.Popen(command, env=own) as process:
        while not any(path.stat().st_size for path in out.parent.glob(".records.parquet.*")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(how)
    assert process.returncode == (TERMINATED if how == signal.SIGTERM else -how)
    assert out.read_text() == "of yesterday"
    if how == signal.SIGTERM:
        assert [path.name for path in out.parent.iterdir()] == ["records.parquet"]


@pytest.mark.parametrize("arguments", [("show",), ("export", "--out", "all.parquet")])
def test_a_record_that_cannot_be_read_is_named(
    busy: Settings, run: Run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(busy.data_dir)
    with closing(sqlite3.connect("records.db")) as people:
        people.execute("update answers set content = '?' where id = 'reply' and first = 4")
        people.commit()
    code, _, complaint = run(*arguments)
    assert code == FAILED
    assert complaint.startswith("error: the record reply-4 cannot be read: ")
    assert len(complaint.splitlines()) == 1
    assert not Path("all.parquet").exists()


def test_show_counts_by_version_and_variant(busy: Settings, run: Run) -> None:
    code, printed, _ = run("show")
    assert code == DONE
    champion, shadow = (line.split() for line in printed.splitlines() if line.startswith("v1"))
    assert champion == ["v1.0.0", "champion", "10", "0", "3", "2026-11-01", "2026-11-02"]
    assert shadow == [CANDIDATE, "shadow", "10", "1", "3", "2026-11-01", "2026-11-02"]
    assert "housing: 20 records, 2026-11-01T00:00:00.000Z to 2026-11-02T03:00:00.000Z" in printed


def test_forgetting_takes_a_yes_and_takes_the_old_ones_only(busy: Settings, run: Run) -> None:
    border = "2026-11-01T06:00Z"
    question = "error: 4 records would be removed and cannot be restored: pass --yes\n"
    assert run("forget", "--before", border) == (MISUSED, "", question)
    assert len(stored(busy)) == 20
    answer = "4 records removed, all before 2026-11-01T06:00:00.000Z\n"
    assert run("forget", "--before", border, "--yes") == (DONE, answer, "")
    left = stored(busy)
    assert {joined.record.id for joined in left} == {f"reply-{number}" for number in range(2, 10)}
    assert {joined.record.id for joined in left if joined.outcome} == {"reply-4", "reply-9"}


def test_erasing_takes_a_yes_and_takes_one_unit_with_its_outcomes(busy: Settings, run: Run) -> None:
    """The shadows that were asked beside have no unit here: they stay, and so do their outcomes."""
    question = "error: 10 records would be removed and cannot be restored: pass --yes\n"
    assert run("erase", "--unit", "agency 7") == (MISUSED, "", question)
    assert len(stored(busy)) == 20
    nobody = "housing: 0 records of this unit removed\n"
    assert run("erase", "--unit", "agency 8", "--yes") == (DONE, nobody, "")
    answer = "housing: 10 records of this unit removed\n"
    assert run("erase", "--unit", "agency 7", "--yes") == (DONE, answer, "")
    assert [joined.record.version for joined in stored(busy)] == [CANDIDATE] * 10


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), MISUSED, "Exit code: 0 done"),
        (("export",), MISUSED, "--out"),
        (("forget", "--yes"), MISUSED, "--before"),
        (("forget", "--before", "last year"), MISUSED, "'last year' is neither a date such as"),
        (("erase", "--yes"), MISUSED, "--unit"),
        (("export", "--out", "."), FAILED, "is a folder; name a file"),
    ],
)
def test_wrong_arguments_say_so_in_the_last_line(
    run: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    found, _, complaint = run(*arguments)
    assert found == code
    assert reason in complaint.splitlines()[-1]


@pytest.mark.parametrize("name", ["show", "export", "forget", "erase"])
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    code, printed, _ = run(name, "--help")
    assert code == DONE
    assert f"Example:\n  predictive records {name}" in printed
