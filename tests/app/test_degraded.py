"""While features cannot be looked up, answers are degraded and say so; nothing fails."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from engine.assemble import open_features, open_records
from engine.domain.features import Features
from engine.domain.record import RecordQuery
from engine.settings import Settings
from problems.basket import BASKET, simulate
from tests.conftest import running
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio

LONG_AGO = "2026-01-01T00:00:00.000Z"
BUDGET_MS = 200


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    assert BASKET.lookup is not None
    home_with([BASKET], folder_of_run(tmp_path_factory), tmp_path)
    settings = settings_of(tmp_path, "basket", features_budget_ms=BUDGET_MS)
    with closing(open_features(settings)) as features:
        rows = {"ann": BASKET.schema.example, "typical": BASKET.lookup.fallback}
        features.put("basket", [Features(key, LONG_AGO, row) for key, row in rows.items()])
    return settings


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Somebody holds the store; whoever asks waits."""
    with closing(sqlite3.connect(settings.data_dir / "features.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


async def asked(client: httpx.AsyncClient, user: str = "ann") -> dict[str, Any]:
    reply = await client.post("/predict", json={"user_id": user})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_a_known_user_is_answered_and_an_unknown_one_is_404(settings: Settings) -> None:
    async with running(settings) as client:
        known = await asked(client)
        unknown = await client.post("/predict", json={"user_id": "bob"})
    assert known["degraded"] is False
    assert known["warnings"] == []
    assert unknown.status_code == 404
    assert "'bob'" in unknown.json()["detail"]


async def test_a_store_that_is_slow_degrades_the_answer_as_long_as_it_is(
    settings: Settings,
) -> None:
    async with running(settings) as client:
        typical = await asked(client, "typical")
    async with running(settings) as client:
        with locked(settings):
            during = await asked(client)
            health = (await client.get("/health")).json()
        metrics = (await client.get("/metrics")).text
        after = await asked(client)
    widths = [
        one["confidence_interval"]["upper"] - one["confidence_interval"]["lower"]
        for one in (typical, during)
    ]
    assert during["degraded"] is True
    assert "could not be looked up" in during["warnings"][0]
    assert during["predicted_price"] == typical["predicted_price"]
    assert widths[1] > widths[0]
    assert health["status"] == "degraded"
    assert 'predictive_degraded_total{problem="basket",reason="slow"} 1.0' in metrics
    assert after["degraded"] is False


async def test_what_the_store_has_may_break_the_schema_and_nothing_fails(
    settings: Settings,
) -> None:
    broken = {**BASKET.schema.example, "prior_item_count": -1}
    with closing(open_features(settings)) as features:
        features.put("basket", [Features("eve", LONG_AGO, broken)])
    async with running(settings) as client:
        assert (await asked(client, "eve"))["degraded"] is True
        assert (await asked(client))["degraded"] is False


async def test_a_degraded_answer_is_recorded_as_one(settings: Settings) -> None:
    async with running(settings) as client:
        with locked(settings):
            degraded = await asked(client)
        outcome = {"prediction_id": degraded["prediction_id"], "actual": 25.0}
        assert (await client.post("/feedback", json=outcome)).status_code == 200
    with closing(open_records(settings)) as records:
        (joined,) = records.read(RecordQuery("basket"))
    assert (joined.record.variant, joined.record.unit) == ("degraded", "ann")
    assert joined.outcome is not None


async def test_bounds_of_a_degraded_answer_cover_whoever_asks(settings: Settings) -> None:
    """Fresh users whose features nobody knows: all of them, and the dear tenth of them alone."""
    rows = 4_000
    fresh = simulate(rows, 77)
    async with running(settings) as client:
        with locked(settings):
            bounds = (await asked(client))["confidence_interval"]
    covered = (bounds["lower"] <= fresh["basket_price"]) & (
        fresh["basket_price"] <= bounds["upper"]
    )
    is_dear = fresh["prior_basket_value"] >= np.quantile(fresh["prior_basket_value"], 0.9)
    calibration_rows = 400
    spread = 0.9 * 0.1 / (calibration_rows + 2) + 0.9 * 0.1 / rows
    assert covered.mean() > 0.9 - 3 * spread**0.5
    assert covered[is_dear].mean() > 0.8
