"""Scoring tables: what a service would answer, row by row, and nothing is lost or doubled."""

import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.score import score
from engine.assemble import open_records, open_stores
from engine.domain.record import RecordQuery
from engine.domain.version import Version
from engine.model.model import Model
from engine.settings import Settings
from problems.housing import HOUSING, simulate
from tests.conftest import running
from tests.replies import script
from tests.scripts import started

DONE, FAILED, MISUSED = 0, 1, 2
ADDED = ["value", "lower", "upper", "model_version", "prediction_id", "reason"]
FORMATS = ("parquet", "csv", "arrow", "arrows")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return script(score, settings, monkeypatch, capsys)


def market(rows: int, seed: int = 7) -> pd.DataFrame:
    return pd.DataFrame(simulate(rows, seed)).assign(id=np.arange(rows))


def write(frame: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
        return path
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=700)
    else:
        writer = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with writer(str(path), table.schema) as file:
            file.write_table(table, max_chunksize=700)
    return path


def read(path: Path) -> pd.DataFrame:
    """A file, or the parts of a folder in their order."""
    if path.is_dir():
        return pd.concat(map(read, sorted(path.iterdir())), ignore_index=True)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path)
    opened = pa.ipc.open_file if path.suffix == ".arrow" else pa.ipc.open_stream
    with pa.OSFile(str(path)) as file:
        frame: pd.DataFrame = opened(file).read_all().to_pandas()
        return frame


def said(settings: Settings, frame: pd.DataFrame, version: str = "v1.0.0") -> np.ndarray[Any, Any]:
    """Value and bounds of each row (n, 3), as the model says them."""
    artifact = open_stores(settings, "housing").artifacts.load("housing", Version.parse(version))
    rows = HOUSING.schema.encode(frame[[*HOUSING.schema.names]].to_dict("records"))  # type: ignore[arg-type]
    found = Model.of(artifact).predict(rows, 0.9)
    return np.column_stack((found.values, found.interval.lower, found.interval.upper))


@pytest.mark.parametrize("kind", FORMATS)
def test_whatever_the_format_each_row_gets_the_bits_the_model_says(
    settings: Settings, run: Run, tmp_path: Path, kind: str
) -> None:
    frame = market(2_500)
    table, out = write(frame, tmp_path / f"in.{kind}"), tmp_path / f"out.{kind}"
    code, printed, complaint = run(str(table), str(out), "--chunk-rows", "1000", "--jobs", "1")
    assert (code, complaint) == (DONE, "")
    assert f"{out}: 2,500 rows by v1.0.0\n" in printed
    found = read(out)
    assert list(found) == [*frame, *ADDED]
    pd.testing.assert_frame_equal(found[[*frame]].astype(float), frame.astype(float))
    assert np.array_equal(found[["value", "lower", "upper"]], said(settings, frame))
    assert found["prediction_id"].nunique() == 2_500
    assert set(found["model_version"]) == {"v1.0.0"}
    assert found["reason"].isna().all()
    assert {path.name for path in tmp_path.iterdir()} >= {out.name, table.name}
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.anyio
async def test_a_row_gets_what_the_service_answers_to_it(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    frame = market(200)
    out = tmp_path / "out.parquet"
    assert run(str(write(frame, tmp_path / "in.parquet")), str(out))[0] == DONE
    houses = frame[[*HOUSING.schema.names]].to_dict("records")
    async with running(settings) as client:
        reply = await client.post("/predict/batch", json={"houses": houses})
    replies = [
        (one["predicted_price"], *(one["confidence_interval"][end] for end in ("lower", "upper")))
        for one in reply.json()["predictions"]
    ]
    assert read(out)[["value", "lower", "upper"]].round(2).to_numpy().tolist() == [
        [*one] for one in replies
    ]


def test_a_folder_of_tables_becomes_a_folder_of_parts_in_the_same_order(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    first, second = market(1_500, seed=1), market(1_200, seed=2)
    write(first, tmp_path / "in" / "a.parquet")
    write(second.astype({"bedrooms": int}), tmp_path / "in" / "b.parquet")
    (tmp_path / "in" / "_SUCCESS").touch()
    code, _, complaint = run(
        *(str(tmp_path / "in"), str(tmp_path / "out"), "--format", "csv"),
        *("--model-version", "v1.1.0-rc.1", "--chunk-rows", "1000", "--jobs", "1"),
    )
    assert (code, complaint) == (DONE, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"part-00000{number}.csv" for number in range(4)
    ]
    whole = pd.concat([first, second], ignore_index=True)
    found = read(tmp_path / "out")
    assert found["square_feet"].tolist() == whole["square_feet"].tolist()
    assert np.array_equal(found[["value", "lower", "upper"]], said(settings, whole, "v1.1.0-rc.1"))


def test_rows_that_break_the_schema_stay_in_their_place_with_a_reason(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    frame = market(50).astype({"bedrooms": object, "square_feet": object})
    frame.loc[3, "bedrooms"] = "many"
    frame.loc[4, "square_feet"] = "20"
    frame.loc[4, "bathrooms"] = None
    frame.loc[5, "square_feet"] = " 2000 "
    out = tmp_path / "out.csv"
    code, printed, _ = run(str(write(frame, tmp_path / "in.csv")), str(out), "--jobs", "1")
    assert code == DONE
    assert "50 rows by v1.0.0, 2 of them without a prediction" in printed
    assert "1 rows without a prediction: bedrooms must be a number" in printed
    found = read(out)
    assert found["reason"].dropna().to_dict() == {
        3: "bedrooms must be a number",
        4: "square_feet must be at least 100; bathrooms must not be missing",
    }
    bad = found.loc[[3, 4]]
    assert bad[["value", "lower", "upper", "model_version", "prediction_id"]].isna().all(axis=None)
    good = frame.drop(index=[3, 4]).astype({"bedrooms": float, "square_feet": float})
    answered = found.drop(index=[3, 4])[["value", "lower", "upper"]]
    assert np.array_equal(answered, said(settings, good))


def test_what_csv_says_is_written_as_it_was(run: Run, tmp_path: Path) -> None:
    frame = market(3).assign(note=['a "quoted", text', "", " blanks "], code=["007", "", "1e3"])
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    frame.to_csv(table, index=False)
    assert run(str(table), str(out), "--jobs", "1")[0] == DONE
    with table.open(newline="") as before, out.open(newline="") as after:
        pairs = zip(csv.reader(before), csv.reader(after), strict=True)
        assert all(new[: len(old)] == old for old, new in pairs)


def test_a_table_without_a_feature_or_with_a_clash_is_refused_in_one_line(
    run: Run, tmp_path: Path
) -> None:
    out = str(tmp_path / "out.csv")
    lacking = write(market(5).drop(columns="bedrooms"), tmp_path / "lacking.csv")
    code, _, complaint = run(str(lacking), out)
    assert (code, complaint.count("\n")) == (FAILED, 1)
    assert "lacking.csv lacks bedrooms; it has square_feet" in complaint
    twins = write(market(5).assign(value=1), tmp_path / "twins.csv")
    code, _, complaint = run(str(twins), out)
    assert (code, complaint.count("\n")) == (FAILED, 1)
    assert "has a column value already: pass --prefix predicted_" in complaint
    assert run(str(twins), out, "--prefix", "predicted_", "--jobs", "1")[0] == DONE
    found = read(Path(out))
    assert list(found)[-6:] == [f"predicted_{name}" for name in ADDED]
    assert found["value"].tolist() == [1] * 5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("in.csv", "out.csv", "--confidence", "0.999"), "confidence 0.999 is outside"),
        (("in.csv", "out.csv", "--model-version", "v9.9.9"), "housing has no version v9.9.9"),
        (("in.csv", "out.csv", "--format", "parquet"), "named as csv, and --format says parquet"),
        (("in.csv", "out.txt"), "name a folder, or a file that ends in parquet"),
        (("in.csv", "taken"), "taken is a folder with something in it"),
        (("missing.csv", "out.csv"), "missing.csv does not exist"),
        (("in.txt", "out.csv"), "in.txt: give a file that ends in one of .parquet"),
        (("torn.parquet", "out.csv"), "torn.parquet cannot be read as a table"),
        (("ragged.csv", "out.csv"), "ragged.csv cannot be read as a table"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(market(5), tmp_path / "in.csv")
    (tmp_path / "in.txt").write_text("a")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    (tmp_path / "ragged.csv").write_text((tmp_path / "in.csv").read_text() + "1,2\n")
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    code, _, said = run(*arguments, "--jobs", "1")
    assert code == FAILED
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_records_are_those_of_a_service_and_come_once(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    frame = market(3_100)
    frame.loc[[0, 7], "square_feet"] = 1.0
    table, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    arguments = (str(table), str(out), "--record", "--jobs", "2", "--chunk-rows", "1500")
    code, _, complaint = run(*arguments)
    assert (code, complaint) == (DONE, "")
    with closing(open_records(settings)) as store:
        records = [one.record for one in store.read(RecordQuery("housing"))]
    found = read(out).dropna(subset="prediction_id")
    assert len(found) == 3_098
    assert [record.id for record in records] == found["prediction_id"].tolist()
    said = [(record.value, record.lower, record.upper) for record in records]
    assert said == [*found[["value", "lower", "upper"]].itertuples(index=False, name=None)]
    assert [record.row for record in records] == found[[*HOUSING.schema.names]].to_dict("records")
    about = {(record.version, record.variant, record.level) for record in records}
    assert about == {("v1.0.0", "champion", 0.9)}


def environment(settings: Settings) -> dict[str, str]:
    paths = {"DATA_DIR": str(settings.data_dir), "MODEL_PATH": str(settings.model_path)}
    return {**os.environ, **paths}


def begun(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*started("score"), *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_after_a_kill_the_next_run_goes_on_and_no_row_is_lost_or_doubled(
    settings: Settings, run: Run, tmp_path: Path, name: str
) -> None:
    frame = market(20_000)
    table, out = write(frame, tmp_path / "in.parquet"), tmp_path / name
    arguments = (str(table), str(out), "--chunk-rows", "1000", "--jobs", "2", "--record")
    process = begun(settings, *arguments)
    rows = tmp_path / f"{name}.parts" / "rows"
    wait_until(lambda: len([*rows.glob("*.json")]) >= 3)
    process.kill()
    process.communicate()
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    assert len(kept) < 20
    code, printed, complaint = run(*arguments)
    assert (code, complaint) == (DONE, "")
    assert "finished parts of an earlier run are kept" in printed
    assert "20,000 rows by v1.0.0\n" in printed
    found = read(out)
    assert found["id"].tolist() == frame["id"].tolist()
    assert np.array_equal(found[["value", "lower", "upper"]], said(settings, frame))
    assert found["prediction_id"].nunique() == 20_000
    with closing(open_records(settings)) as store:
        assert sum(1 for _ in store.read(RecordQuery("housing"))) == 20_000


@pytest.mark.slow
def test_parts_of_another_run_are_not_used(settings: Settings, run: Run, tmp_path: Path) -> None:
    frame = market(20_000)
    table, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    process = begun(settings, str(table), str(out), "--chunk-rows", "1000", "--jobs", "1")
    rows = tmp_path / "out.parquet.parts" / "rows"
    wait_until(lambda: len([*rows.glob("*.json")]) >= 2)
    process.kill()
    process.communicate()
    other = ("--model-version", "v1.1.0-rc.1", "--chunk-rows", "1000")
    code, printed, _ = run(str(table), str(out), *other)
    assert code == DONE
    assert "are kept" not in printed
    assert np.array_equal(
        read(out)[["value", "lower", "upper"]], said(settings, frame, "v1.1.0-rc.1")
    )


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_with_one_line_and_the_next_goes_on(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    frame = market(20_000)
    table, out = write(frame, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    arguments = (str(table), str(out), "--chunk-rows", "1000", "--jobs", "2")
    process = begun(settings, *arguments)
    rows = tmp_path / "out.parquet.parts" / "rows"
    wait_until(lambda: len([*rows.glob("*.json")]) >= 2)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == FAILED
    assert complaint.startswith("error: a process that scores was killed")
    assert complaint.count("\n") == 1
    assert run(*arguments)[0] == DONE
    assert read(out)["id"].tolist() == frame["id"].tolist()


@pytest.mark.slow
def test_two_runs_into_one_place_do_not_mix(settings: Settings, run: Run, tmp_path: Path) -> None:
    table, out = write(market(20_000), tmp_path / "in.parquet"), tmp_path / "out.parquet"
    process = begun(settings, str(table), str(out), "--chunk-rows", "1000", "--jobs", "1")
    rows = tmp_path / "out.parquet.parts" / "rows"
    wait_until(lambda: len([*rows.glob("*.json")]) >= 1)
    code, _, complaint = run(str(table), str(out))
    process.kill()
    process.communicate()
    assert code == FAILED
    assert "another run holds" in complaint


def workers(pid: int) -> list[int]:
    """The processes that score for it."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
