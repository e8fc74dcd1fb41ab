"""Scoring tables of events, and of somebody's own table: as the service answers them."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cli.score import score
from engine.assemble import open_records
from engine.domain.prediction import Prediction
from engine.domain.record import RecordQuery
from engine.settings import Settings
from problems.churn import CHURN, simulate
from problems.replies import chances
from tests.conftest import running
from tests.replies import script
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio
RUN_AS = ("--problem", "churn", "--jobs", "1")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    run = folder_of_run(tmp_path_factory)
    folder = home_with([CHURN], run, tmp_path_factory.mktemp("churn"))
    return settings_of(folder, "churn")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_an_event_gets_the_risk_that_the_service_tells(
    settings: Settings,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = pd.DataFrame(simulate(300, seed=5))
    frame.loc[3, "plan"] = "gold"
    table, out = tmp_path / f"in.{kind}", tmp_path / "out.parquet"
    frame.to_csv(table, index=False) if kind == "csv" else frame.to_parquet(table)
    monkeypatch.setenv("DEFAULT_THRESHOLD", "0.3")
    run = script(score, settings, monkeypatch, capsys)
    code, printed, complaint = run(str(table), str(out), *RUN_AS)
    assert (code, complaint) == (0, "")
    assert "1 rows: plan is not a known category: trust the answer less" in printed
    found = pd.read_parquet(out)
    risks, bounds = chances(prediction_of(found))
    users = [{"user_id": str(n), "features": row} for n, row in enumerate(rows_of(frame))]
    async with running(settings) as client:
        reply = await client.post("/predict/batch", json={"users": users})
    told = reply.json()["predictions"]
    assert [one["churn_risk"] for one in told] == risks
    assert [one["risk_interval"] for one in told] == bounds
    assert found["prediction"].tolist() == ["1" if risk >= 0.3 else "0" for risk in risks]
    assert found["prediction"].nunique() == 2


async def test_what_is_recorded_of_an_event_is_what_its_table_said(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = pd.DataFrame(simulate(300, seed=6))
    table, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    frame.to_parquet(table)
    run = script(score, settings, monkeypatch, capsys)
    code, _, complaint = run(str(table), str(out), *RUN_AS, "--record")
    assert (code, complaint) == (0, "")
    with closing(open_records(settings)) as store:
        records = [one.record for one in store.read(RecordQuery("churn"))]
    found = pd.read_parquet(out)
    assert [record.id for record in records] == found["prediction_id"].tolist()
    assert [record.value for record in records] == found["value"].tolist()
    assert [record.row for record in records] == [
        {name: cell for name, cell in line.items() if cell is not None} for line in rows_of(frame)
    ]


def prediction_of(found: pd.DataFrame) -> Prediction:
    from engine.domain.prediction import Interval

    values, lower, upper = (found[name].to_numpy() for name in ("value", "lower", "upper"))
    return Prediction(values, Interval(lower, upper, 0.9), [[] for _ in values])


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """As JSON has them: nothing for what is missing."""
    lines = frame[[*CHURN.schema.names]].replace({np.nan: None}).to_dict("records")
    return [{str(name): value for name, value in line.items()} for line in lines]
