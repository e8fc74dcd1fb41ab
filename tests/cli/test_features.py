"""The features from the command line: all of a table or nothing, and never known too early."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli.features import features
from cli.server import ROOT
from engine.assemble import open_features
from engine.domain.columns import Category, Number
from engine.domain.kinds import REAL
from engine.domain.problem import Lookup, Problem
from engine.domain.schema import Row, Schema, Target
from engine.domain.times import written
from engine.settings import Settings
from engine.tables.batches import BATCH_ROWS
from engine.tables.feature_table import moment_of
from problems import PROBLEMS
from tests.conftest import empty_settings
from tests.replies import script

DONE, FAILED, MISUSED = 0, 1, 2
FOREVER = "9999-01-01T00:00:00.000Z"
NOON = "2026-11-01T12:00:00.000Z"
BORDER = BATCH_ROWS + 3


def simulate(rows: int, seed: int) -> Mapping[str, Any]:
    return {
        "user_id": [f"user {seed}-{n}" for n in range(rows)],
        "visits": [n % 100 for n in range(rows)],
        "share": [None] * rows,
        "plan": ["free"] * rows,
        "at": [NOON] * rows,
    }


VISITS = Problem(
    name="visits",
    title="Visits",
    schema=Schema(
        (
            Number("visits", "visits", "So far.", 0, 100, 1, is_whole=True),
            Number("share", "share", "Of all.", 0, 1, 0.5, may_be_missing=True),
            Category("plan", "What is paid.", ("free", "paid"), "free", may_be_missing=True),
        )
    ),
    target=Target("spent", "USD", "Spent.", 0, 1, REAL),
    contracts=(),
    simulate=None,
    slices=(),
    layouts={},
    lookup=Lookup("user_id", {"visits": 1.0}, simulate),
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return empty_settings(tmp_path)


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setitem(PROBLEMS, "visits", VISITS)
    return script(features, settings, monkeypatch, capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


@pytest.fixture
def load(run: Run) -> Callable[..., tuple[int, str, str]]:
    return lambda path, *more: run("load", "--problem", "visits", "--data", str(path), *more)


def known(settings: Settings, *keys: str, at: str = FOREVER) -> Mapping[str, Row]:
    with closing(open_features(settings)) as store:
        return store.get("visits", keys, at)


def history(settings: Settings, key: str) -> list[tuple[str, Any]]:
    with closing(open_features(settings)) as store:
        return [(one.at, one.row.get("visits")) for one in store.history("visits", [key])]


def count(settings: Settings) -> int:
    with closing(open_features(settings)) as store:
        return store.count("visits")


def test_a_table_is_loaded_with_its_texts_as_they_are(
    load: Run, file: Path, settings: Settings
) -> None:
    file.write_text(
        "at,other,user_id,visits,share,plan\n"
        '2026-11-01,x,007,3,0.25,"paid"\n'
        "2026-11-01,x,NA,4,,\n"
        '2026-11-01,x,"a, ""b""",5,NaN,unheard of\n',
        encoding="utf-8",
    )
    said = "3 rows, 3 of them new, known from the time in at on; 3 keys of visits have features"
    assert load(file) == (DONE, f"{file}: {said}\n", "")
    assert known(settings, "007", "NA", 'a, "b"', "7") == {
        "007": {"visits": 3, "share": 0.25, "plan": "paid"},
        "NA": {"visits": 4},
        'a, "b"': {"visits": 5, "plan": "unheard of"},
    }
    assert load(file)[1] == f"{file}: {said.replace('3 of them', '0 of them')}\n"


def test_parquet_says_what_csv_says(load: Run, tmp_path: Path, settings: Settings) -> None:
    frame = pd.DataFrame(
        {
            "user_id": [12, 13],
            "visits": [3, 4],
            "share": [0.1, None],
            "plan": pd.Categorical(["paid", None]),
            "seen": pd.to_datetime(
                ["2026-11-01T13:00+01:00", "2026-11-01T12:00:00.0001Z"], format="ISO8601", utc=True
            ),
        }
    )
    frame.to_parquet(tmp_path / "users.parquet")
    assert load(tmp_path / "users.parquet", "--time", "seen")[0] == DONE
    assert known(settings, "12", "13") == {
        "12": {"visits": 3, "share": 0.1, "plan": "paid"},
        "13": {"visits": 4},
    }
    assert history(settings, "12") == [(NOON, 3)]
    assert history(settings, "13") == [("2026-11-01T12:00:00.001Z", 4)]


def test_more_rows_than_a_batch_are_loaded(load: Run, file: Path, settings: Settings) -> None:
    pd.DataFrame(simulate(BORDER, 1)).to_csv(file, index=False)
    assert f"{BORDER:,} rows, {BORDER:,} of them new" in load(file)[1]
    assert count(settings) == BORDER
    (last,) = known(settings, f"user 1-{BORDER - 1}").values()
    assert last["visits"] == (BORDER - 1) % 100


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ("x,101,", "visits: Input should be less than or equal to 100, is '101.0'"),
        ("x,2.5,", "visits: Input should be a multiple of 1, is '2.5'"),
        ("x,many,", "visits: Input should be a valid number, is 'many'"),
        ("x,1_0,", "visits: Input should be a valid number, is '1_0'"),
        ("x,inf,", "visits: Input should be a valid number, is 'inf'"),
        ("x,,", "visits: must not be missing"),
        ("x,1,2", "share: Input should be less than or equal to 1, is '2.0'"),
        (",1,", "user_id: must not be missing"),
        ("x" * 401 + ",1,", "user_id: must have at most 400 letters"),
        ("x,1,,free,yesterday", "at: must be an ISO 8601 date or time, or seconds since 1970"),
    ],
)
def test_one_bad_row_anywhere_and_nothing_is_loaded(
    load: Run, file: Path, settings: Settings, cells: str, complaint: str
) -> None:
    good = [f"{n},1,,free,{NOON}" for n in range(BORDER - 1)]
    bad = f"{cells},free,{NOON}" if cells.count(",") == 2 else cells
    file.write_text("\n".join(["user_id,visits,share,plan,at", *good, bad]))
    said = f"error: 1 of {BORDER:,} rows break the schema, nothing was loaded: row {BORDER}: "
    assert load(file) == (FAILED, "", f"{said}{complaint}\n")
    assert count(settings) == 0


def test_bad_rows_are_left_out_up_to_the_share_that_is_allowed(
    load: Run, file: Path, settings: Settings
) -> None:
    frame = pd.DataFrame(simulate(10, 1))
    frame.loc[[3, 7], "visits"] = -1
    frame.to_csv(file, index=False)
    code, printed, complaint = load(file, "--max-bad-share", "0.19")
    assert (code, printed) == (FAILED, "")
    assert "2 of 10 rows break the schema" in complaint
    code, printed, _ = load(file, "--max-bad-share", "0.2")
    assert code == DONE
    assert "2 of 10 rows are left out: row 4: visits: " in printed
    assert count(settings) == 8
    assert known(settings, "user 1-3") == {}


def test_a_load_of_older_rows_hides_no_newer_ones(
    load: Run, file: Path, settings: Settings
) -> None:
    for day, visits in (("2026-11-02", 2), ("2026-11-01", 1), ("2026-11-03", 3)):
        file.write_text(f"user_id,visits,share,plan,day\na,{visits},,,{day}")
        assert load(file, "--time", "day")[0] == DONE
    assert known(settings, "a") == {"a": {"visits": 3}}
    assert known(settings, "a", at="2026-11-01T23:59:59.999Z") == {"a": {"visits": 1}}
    assert known(settings, "a", at="2026-10-31T23:59:59.999Z") == {}


def test_rows_without_a_time_are_known_from_now_on_or_from_a_moment_that_is_said(
    load: Run, file: Path, settings: Settings
) -> None:
    file.write_text("user_id,visits,share,plan\na,5,,")
    before = written(datetime.now(UTC))
    assert load(file)[0] == DONE
    assert load(file, "--as-of", "2026-01-01")[0] == DONE
    said, now = [at for at, _ in history(settings, "a")]
    assert said == "2026-01-01T00:00:00.000Z"
    assert before <= now <= written(datetime.now(UTC))


@pytest.mark.parametrize(
    ("value", "earlier", "later"),
    [
        ("2026-11-01", "2026-11-01T00:00:00.000Z", None),
        ("20261101", "2026-11-01T00:00:00.000Z", None),
        (20261101, "2026-11-01T00:00:00.000Z", None),
        ("2026-11-01 14:00:00+02:00", NOON, None),
        ("2026-11-01T12:00:00.000001", NOON, "2026-11-01T12:00:00.001Z"),
        ("1793534400", NOON, None),
        (1793534400, NOON, None),
        (1793534400.0, NOON, None),
        (1793534400_000, NOON, None),
        ("1793534400000", NOON, None),
        (1793534400_000_000, NOON, None),
        (1793534400_000_000_000, NOON, None),
        ("1793534400.0004", NOON, "2026-11-01T12:00:00.001Z"),
    ],
)
def test_a_moment_is_rounded_so_that_nothing_is_known_too_early(
    value: Any, earlier: str, later: str | None
) -> None:
    assert moment_of(value, later=False) == earlier
    assert moment_of(value, later=True) == (later or earlier)


@pytest.mark.parametrize(
    "value", ["", "12", None, True, "9" * 30, "2026-13-01", float("nan"), 1e300]
)
def test_what_is_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        moment_of(value, later=True)


def test_the_simulated_table_is_the_problems_own(run: Run, settings: Settings) -> None:
    simulated = ("load", "--simulated", "--rows", "20", "--seed", "3", "--problem")
    assert run(*simulated, "visits")[0] == DONE
    assert known(settings, "user 3-19") == {"user 3-19": {"visits": 19, "plan": "free"}}
    assert history(settings, "user 3-0") == [(NOON, 0)]
    assert run(*simulated, "basket")[0] == DONE
    code, printed, _ = run("show", "--problem", "basket", "--key-value", "abc123")
    assert (code, "prior_basket_value" in printed) == (DONE, True)


def test_events_get_what_was_known_at_their_time_and_nothing_later(
    run: Run, load: Run, file: Path, tmp_path: Path
) -> None:
    rows = [f"{key},{n},,paid,2026-11-{n:02}" for key in "ab" for n in (4, 2, 3)]
    file.write_text("\n".join(["user_id,visits,share,plan,at", *rows]))
    assert load(file)[0] == DONE
    events, out = tmp_path / "events.csv", tmp_path / "deep" / "train.csv"
    events.write_text(
        "order,user_id,at,spent\n01,b,2026-11-03,7\n02,a,2026-11-02T23:59:59.999999Z,8\n"
        "03,a,2026-11-01,9\n04,nobody,2026-11-04,10\n05,b,2026-12-01,11\n"
    )
    asked = ("as-of", "--problem", "visits", "--data", str(events), "--out", str(out))
    unknown = "2 left out: no features were known for their user_id"
    assert run(*asked) == (DONE, f"{out}: 3 events; {unknown}\n", "")
    frame = pd.read_csv(out, dtype=str).fillna("")
    assert [*frame] == ["order", "user_id", "at", "spent", "visits", "share", "plan"]
    assert frame.to_numpy().tolist() == [
        ["01", "b", "2026-11-03", "7", "3", "", "paid"],
        ["02", "a", "2026-11-02T23:59:59.999999Z", "8", "2", "", "paid"],
        ["05", "b", "2026-12-01", "11", "4", "", "paid"],
    ]
    assert [path.name for path in out.parent.iterdir()] == ["train.csv"]


def test_events_in_many_batches_are_what_the_store_says_of_each(
    run: Run, load: Run, file: Path, settings: Settings, tmp_path: Path
) -> None:
    known_rows = [(f"u{n % 7}", n % 100, 1_793_000_000 + 977 * n) for n in range(300)]
    frame = pd.DataFrame(known_rows, columns=["user_id", "visits", "at"])
    frame.assign(share=None, plan=None).to_csv(file, index=False)
    assert load(file)[0] == DONE
    events, out = tmp_path / "events.parquet", tmp_path / "train.parquet"
    asked = [(f"u{n % 9}", 1_793_000_000 + 53 * n) for n in range(BORDER)]
    pd.DataFrame(asked, columns=["user_id", "when"]).to_parquet(events)
    command = ("as-of", "--problem", "visits", "--data", str(events), "--out", str(out))
    assert run(*command, "--time", "when")[0] == DONE
    found = pd.read_parquet(out)
    expected = [
        (key, when, max(mine)[1])
        for key, when in asked
        if (mine := [(at, v) for k, v, at in known_rows if k == key and at <= when])
    ]
    assert found[["user_id", "when", "visits"]].to_numpy().tolist() == [list(e) for e in expected]
    assert 0 < len(found) < BORDER


@pytest.mark.parametrize(
    ("table", "more", "reason"),
    [
        ("user_id,visits\na,1", (), "lacks share, plan; it has user_id, visits"),
        ("user,visits,share,plan\na,1,,", (), "lacks user_id; it has user, visits, share, plan"),
        ("user_id,visits,share,plan\n", (), "holds no rows"),
        ("", (), "cannot be read as a table: Empty CSV file"),
        ("user_id,visits\na,1,2,3", (), "cannot be read as a table: "),
        ("user_id,visits,visits\na,1,2", (), "the column visits appears more than once"),
        (
            "user_id,visits,share,plan,at\n",
            ("--as-of", "2026-01-01"),
            "has its times in the column at; leave",
        ),
        (None, (), "does not exist"),
    ],
)
def test_a_table_that_cannot_be_loaded_says_why(
    load: Run, file: Path, settings: Settings, table: str | None, more: tuple[str, ...], reason: str
) -> None:
    if table is not None:
        file.write_text(table)
    code, _, complaint = load(file, *more)
    assert code == FAILED
    assert reason in complaint
    assert complaint.count("\n") == 1
    assert not settings.data_dir.exists()


@pytest.mark.parametrize(
    ("events", "out", "reason"),
    [
        ("user_id,at\na,2026-11-01\n,2026-11-01", "t.csv", "row 2: user_id: must not be missing"),
        (
            "user_id,at" + BATCH_ROWS * "\na,2026-11-01" + "\n,",
            "t.csv",
            f"row {BATCH_ROWS + 1}: user_id: must not be missing",
        ),
        ("user_id,at\na,now", "t.csv", "row 1: at: must be an ISO 8601 date or time"),
        ("user_id,at,visits\na,2026-11-01,1", "t.csv", "has visits already"),
        ("user_id,time\na,2026-11-01", "t.csv", "lacks at"),
        ("user_id,at\na,2026-11-01", "t.txt", "name a .csv or a .parquet file"),
        ("user_id,at\n", "t.csv", "there are no events"),
    ],
)
def test_events_that_cannot_be_joined_leave_the_file_as_it_was(
    run: Run, file: Path, tmp_path: Path, events: str, out: str, reason: str
) -> None:
    file.write_text(events)
    (tmp_path / out).write_text("of yesterday")
    command = ("as-of", "--problem", "visits", "--data", str(file), "--out", str(tmp_path / out))
    code, _, complaint = run(*command)
    assert code == FAILED
    assert reason in complaint
    assert (tmp_path / out).read_text() == "of yesterday"
    assert not [*tmp_path.glob(".t.*")]


def test_events_are_not_written_over_a_folder(run: Run, file: Path, tmp_path: Path) -> None:
    file.write_text("user_id,at\na,2026-11-01")
    out = tmp_path / "t.csv"
    out.mkdir()
    command = ("as-of", "--problem", "visits", "--data", str(file), "--out", str(out))
    assert run(*command) == (FAILED, "", f"error: {out} is a folder; name a file\n")


def test_show_tells_what_was_known_and_from_when_on(load: Run, run: Run, file: Path) -> None:
    file.write_text("user_id,visits,share,plan,at\nü,2,,paid,2026-11-02\nü,1,,,2026-11-01")
    assert load(file)[0] == DONE
    shown = ("show", "--problem", "visits")
    assert run(*shown) == (DONE, "visits: 1 keys have features\n", "")
    assert run(*shown, "--key-value", "ü")[1].splitlines() == [
        '2026-11-01T00:00:00.000Z {"visits": 1.0}',
        '2026-11-02T00:00:00.000Z {"visits": 2.0, "plan": "paid"}',
    ]
    assert run(*shown, "--key-value", "x")[1] == "visits: no features are known for user_id x\n"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), MISUSED, "Exit code: 0 done"),
        (("load",), MISUSED, "name a table with --data, or load the --simulated one"),
        (
            ("load", "--simulated", "--data", "x.csv"),
            MISUSED,
            "cannot be used with --data",
        ),
        (("load", "--simulated", "--as-of", "soon"), MISUSED, "'soon' is neither a date"),
        (("show", "--problem", "housing"), MISUSED, "housing looks up no features by key"),
        (("show", "--problem", "nonsense"), MISUSED, "no problem nonsense"),
        (
            ("load", "--problem", "visits", "--data", "x.txt"),
            FAILED,
            "a .csv or a .parquet",
        ),
    ],
)
def test_wrong_arguments_say_so_in_the_last_line(
    run: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    found, _, complaint = run(*arguments)
    assert found == code
    assert reason in complaint.splitlines()[-1]


@pytest.mark.parametrize(
    ("url", "code", "reason"),
    [
        ("memory://", MISUSED, "FEATURES_URL: memory: is lost when this command ends"),
        ("mysql://host/x", MISUSED, "FEATURES_URL: "),
        ("redis://127.0.0.1:1", FAILED, "refused"),
    ],
)
def test_a_store_that_cannot_be_used_says_why_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str, code: int, reason: str
) -> None:
    monkeypatch.setenv("FEATURES_URL", url)
    found, _, complaint = run("show", "--problem", "visits")
    assert (found, complaint.count("\n")) == (code, 1)
    assert reason in complaint


@pytest.mark.parametrize("name", ["load", "show", "as-of"])
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    code, printed, _ = run(name, "--help")
    assert code == DONE
    assert f"Example:\n  predictive features {name}" in printed


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "cli", "features", "load", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
