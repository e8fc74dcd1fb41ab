"""The commands on recorded answers about an event, with categories and with gaps in the rows."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.deployment import deployment
from cli.records import records
from cli.replay import replay
from engine.assemble import open_stores
from engine.domain.kinds import BINARY, REAL
from engine.domain.record import Record
from engine.domain.schema import Matrix, Row
from engine.domain.traffic import SHADOW, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.scoring.replay import LeftOut, Replayed, compared, recomputed
from engine.settings import Settings
from problems.churn import CHURN, simulate
from retrain import retrain
from tests.conftest import running
from tests.replies import keep, replies, script
from tests.trained import folder_of_run, home_with, settings_of

DONE, DIFFERENT, MISUSED = 0, 10, 2
KEPT = 10
CANDIDATE = "v1.1.0-rc.1"
SINCE = ("--since", "2026-11-01")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def churn(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(home_with([CHURN], folder_of_run(tmp_path_factory), tmp_path), "churn")


@pytest.fixture
def run(
    churn: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[click.Command], Run]:
    return lambda command: script(command, churn, monkeypatch, capsys)


def users(n: int) -> tuple[list[Row], list[float]]:
    """Rows with gaps, some of them absent and some None, a category nobody declared; who left."""
    columns = simulate(n, 7)
    names = CHURN.schema.names
    rows: list[dict[str, Any]] = []
    for number in range(n):
        values = {name: plain(columns[name][number]) for name in names}
        there = {k: v for k, v in values.items() if v is not None or number % 2}
        rows.append({**there, "plan": "platinum"} if number % 10 == 0 else there)
    assert any(None in row.values() for row in rows)
    assert any(len(row) < len(names) for row in rows)
    return list(rows), [float(value) for value in columns["churned"]]


def plain(value: Any) -> float | str | None:
    if isinstance(value, str) or value is None:
        return value
    return None if math.isnan(value) else float(value)


@pytest.mark.anyio
async def test_what_the_service_said_of_an_event_is_computed_again_to_the_last_bit(
    churn: Settings, run: Callable[[click.Command], Run]
) -> None:
    """One by one and in a batch."""
    bodies = [{"user_id": f"u{n}", "features": row} for n, row in enumerate(users(40)[0])]
    async with running(churn) as client:
        for body in bodies[:10]:
            assert (await client.post("/predict", json=body)).status_code == 200
        batch = await client.post("/predict/batch", json={"users": bodies})
        assert batch.status_code == 200, batch.text
    code, printed, complaint = run(replay)("--newest", "1000")
    assert (code, complaint) == (DONE, "")
    assert "All 50 records are computed again to the last bit." in printed


def test_a_probability_that_differs_in_its_last_bit_is_named(
    churn: Settings, run: Callable[[click.Command], Run]
) -> None:
    """A bound of 0 has nothing to be relative to, and stops nothing."""
    said = replies(churn, users(30)[0], problem=CHURN)
    assert said[3].value is not None
    said[3] = replace(said[3], value=float(np.nextafter(said[3].value, 1)))
    said[4] = replace(said[4], lower=0.0)
    keep(churn, said, problem=CHURN)
    code, printed, _ = run(replay)(*SINCE)
    assert code == DIFFERENT
    assert "2 of 30 records differ, by at most 1 (relative)" in printed
    assert "v1.0.0 differs in reply-3, reply-4\n" in printed


@pytest.mark.parametrize("version", [(), ("--version", "v1.0.0")])
def test_what_cannot_be_replayed_is_left_out_and_is_no_failure(
    churn: Settings, run: Callable[[click.Command], Run], version: tuple[str, ...]
) -> None:
    said = replies(churn, users(12)[0], problem=CHURN)
    said[0] = replace(said[0], variant="degraded", lower=0.0, upper=1.0)
    said[1] = replace(said[1], row={**said[1].row, "mood": "good"})
    said[2] = replace(said[2], row={**said[2].row, "plan": 3.0})
    said[3] = replace(said[3], row={**said[3].row, "events_7d": "many"})
    keep(churn, said, problem=CHURN)
    code, printed, _ = run(replay)(*SINCE, *version)
    assert code == DONE
    fallback = "the features could not be looked up, and a fallback answered"
    assert f"left out: 1 records, {fallback}" in printed
    assert "left out: 3 records, the features are not those of today's schema" in printed
    if version:
        assert line_of(printed, "replies") == ["8"]
    else:
        assert "All 8 records that could be asked are computed again" in printed


def test_another_version_of_an_event_is_compared_by_log_loss_and_not_by_coverage(
    churn: Settings, run: Callable[[click.Command], Run]
) -> None:
    rows, truth = users(400)
    honest = replies(churn, rows, problem=CHURN)
    said = [replace(record, value=0.5, lower=0.4, upper=0.6) for record in honest]
    keep(churn, said, {f"reply-{n}": happened for n, happened in enumerate(truth)}, CHURN)
    code, printed, _ = run(replay)(*SINCE, "--version", "v1.0.0")
    new = np.array([record.value for record in honest], dtype=float)
    figures = (math.log(2), BINARY.measure.loss(new, np.array(truth)).mean())
    gap = f"{np.abs(new - 0.5).mean():.4f}"
    assert code == DONE
    assert line_of(printed, "mean log loss") == [f"{figure:.4f}" for figure in figures]
    assert line_of(printed, "mean |difference| of the values") == [gap]
    assert line_of(printed, "width of the interval")[0] == "0.2000"
    assert "coverage" not in printed
    assert f"v1.0.0 would have said values that differ by {gap} on average; on 400" in printed
    assert "it is closer to the truth, mean log loss" in printed


def line_of(printed: str, label: str) -> list[str]:
    """The cells of the table's line that starts with this label."""
    (line,) = (line for line in printed.splitlines() if line.strip("│ ").startswith(label + " "))
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    return [cell for cell in cells[1:] if cell]


def part(recorded: list[float], computed: list[float], truth: float) -> Replayed:
    def rows(values: list[float]) -> Matrix:
        return np.array([[value, value - 1, value + 1] for value in values])

    ids = [f"reply-{number}" for number in range(len(recorded))]
    truths = np.full(len(ids), truth)
    return Replayed("v1.0.0", 0.9, ids, rows(recorded), rows(computed), truths)


def test_quantities_that_may_be_negative_or_zero_are_compared_by_their_distance() -> None:
    """The relative difference of the larger one: from 0 to anything it is 1."""
    found = compared([part([-3.0, 0.0], [-1.0, 1.0], -1.0)], "v1.1.0", REAL)
    assert found is not None
    table = {name: cells for name, *cells in found.table}
    assert table["mean |difference| of the values"] == ["", "1.5"]
    assert table["mean |error|"] == ["1.5", "1"]
    assert table["width of the interval"] == ["2", "2"]
    assert table["coverage (asked for 90.0%)"] == ["50.0%", "50.0%"]
    again = recomputed([part([0.0, 1.0], [0.5, 1.0], 0.0)], LeftOut())
    assert again is not None
    assert "1 of 2 records differ, by at most 1 (relative)" in again.sentence


def test_an_export_writes_categories_as_text_and_gaps_as_null(
    churn: Settings, run: Callable[[click.Command], Run], tmp_path: Path
) -> None:
    said = replies(churn, users(20)[0], problem=CHURN)
    said[5] = replace(said[5], row={**said[5].row, "country": 49.0})
    keep(churn, said, problem=CHURN)
    out = tmp_path / "records.parquet"
    assert run(records)("export", "--out", str(out))[0] == DONE
    table = pq.read_table(out)
    kinds = [table.schema.field(f"feature_{name}").type for name in CHURN.schema.names]
    wanted = [pa.string() if c.categories else pa.float64() for c in CHURN.schema.columns]
    assert kinds == wanted
    for line, record in zip(table.to_pylist(), said, strict=True):
        strange = record is said[5]
        row = {name: line[f"feature_{name}"] for name in CHURN.schema.names}
        given = {**record.row, "country": None} if strange else record.row
        assert row == {name: given.get(name) for name in CHURN.schema.names}
        assert line["other_features"] == ('{"country": 49.0}' if strange else None)


def test_forgetting_counts_the_records_of_every_problem(
    churn: Settings, run: Callable[[click.Command], Run]
) -> None:
    """Of one that is trained here, and neither ours nor served, too."""
    own = [
        replace(record, problem="flats") for record in replies(churn, users(3)[0], problem=CHURN)
    ]
    (churn.data_dir / "models" / "flats").mkdir()
    keep(churn, own, problem=CHURN)
    said = run(records)("forget", "--before", "2027-01-01")
    assert said[2] == "error: 3 records would be removed and cannot be restored: pass --yes\n"


def test_a_report_of_an_event_is_by_log_loss_without_coverage(
    churn: Settings, run: Callable[[click.Command], Run], tmp_path: Path
) -> None:
    """A shadow of the same model that says a fifth of what it should is worse."""
    stores = open_stores(churn, "churn")
    champion = stores.champion.load()
    candidate = Version.parse(CANDIDATE)
    stores.artifacts.save(champion.named(candidate))
    known = stores.artifacts.versions("churn")
    set_variants(
        stores.champion, known, [VariantRequest(candidate, SHADOW, 0.0)], who="tests", why=""
    )
    since = stores.champion.history()[-1].at
    rows, truth = users(400)
    said = [replace(one, at=since) for one in replies(churn, rows, problem=CHURN)]
    keep(churn, said, {f"reply-{n}": t for n, t in enumerate(truth)}, CHURN)
    keep(churn, [a_fifth(one) for one in said], problem=CHURN)
    code, printed, complaint = run(deployment)("report", "--out", str(tmp_path / "page.html"))
    assert (code, complaint) == (DONE, "")
    assert f"{CANDIDATE} is worse: the mean log loss is" in printed
    (gaps,) = (line for line in printed.splitlines() if line.startswith("coverage less claimed"))
    assert gaps.split()[3:] == ["-", "-"]
    assert any(line.startswith("mean log loss ") for line in printed.splitlines())
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 2
    assert "Coverage" not in page


@pytest.mark.parametrize(
    ("known", "left", "reason"),
    [(150, 75, "has 150 usable rows"), (260, 0, "one class only"), (260, 20, "class imbalance")],
)
def test_too_few_events_to_learn_from_keep_the_champion(
    churn: Settings, run: Callable[[click.Command], Run], known: int, left: int, reason: str
) -> None:
    rows, _ = users(known)
    truths = {f"reply-{n}": float(n < left) for n in range(known)}
    keep(churn, replies(churn, rows, problem=CHURN), truths, CHURN)
    code, printed, complaint = run(retrain)()
    said = " ".join(printed.split())
    assert (code, complaint) == (KEPT, "")
    assert reason in said
    assert "Keep the champion: " in said
    assert said.endswith(
        "report outcomes to POST /feedback, or add a table: --data FILE --with-records."
    )


def a_fifth(record: Record) -> Record:
    assert record.value is not None
    return replace(record, version=CANDIDATE, variant=SHADOW, value=record.value / 5)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (replay, ("--newest", "1", "--problem", "weather")),
        (records, ("show", "--problem", "weather")),
        (records, ("export", "--out", "x.parquet", "--problem", "weather")),
        (deployment, ("show", "--problem", "weather")),
        (retrain, ("--rollback", "--problem", "weather")),
    ],
)
def test_a_problem_that_nobody_declared_is_misuse_and_told_in_one_line(
    run: Callable[[click.Command], Run], command: click.Command, arguments: tuple[str, ...]
) -> None:
    code, _, complaint = run(command)(*arguments)
    assert code == MISUSED
    assert complaint.startswith("error: no problem weather (")
    assert len(complaint.splitlines()) == 1


def test_a_layout_belongs_to_its_problem(run: Callable[[click.Command], Run]) -> None:
    said = run(retrain)("--data", "x.csv", "--layout", "king-county")
    assert said == (MISUSED, "", "error: --layout: churn has no layout king-county\n")
