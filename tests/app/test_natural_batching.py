"""Callers who come together are asked, recorded and counted as one, and told what each alone is."""

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from engine.settings import Settings
from tests.conftest import HOUSE, running

pytestmark = pytest.mark.anyio


def _house(number: int) -> dict[str, Any]:
    return {**HOUSE, "square_feet": 900 + 37 * number, "age_years": number}


async def test_together_each_gets_the_answer_that_it_gets_alone(settings: Settings) -> None:
    async with running(settings) as client:
        alone = [await _ask(client, number) for number in range(16)]
        together = await asyncio.gather(*(_ask(client, number) for number in range(16)))
    for one, other in zip(alone, together, strict=True):
        for name in ("predicted_price", "confidence_interval", "warnings", "model_version"):
            assert one[name] == other[name]
    assert len({one["prediction_id"] for one in (*alone, *together)}) == 32
    with closing(sqlite3.connect(settings.data_dir / "records.db")) as database:
        sizes = [rows for (rows,) in database.execute("SELECT rows FROM answers ORDER BY at, id")]
    assert sizes[:16] == [1] * 16
    assert sum(sizes) == 32
    assert len(sizes) < 24


async def test_together_each_outcome_finds_its_own_record(settings: Settings) -> None:
    async with running(settings) as client:
        told = await asyncio.gather(*(_ask(client, number) for number in range(8)))
        for number, one in enumerate(told):
            outcome = {"prediction_id": one["prediction_id"], "actual": 100_000.0 + number}
            reply = await client.post("/feedback", json=outcome)
            assert reply.status_code == 200, reply.text


async def test_bad_requests_among_good_ones_spoil_nothing(client: httpx.AsyncClient) -> None:
    good = [_ask(client, number) for number in range(6)]
    bad = [client.post("/predict", content=body) for body in (b"{", b"{}")]
    told = await asyncio.gather(*good, *bad, return_exceptions=False)
    assert [one["model_version"] for one in told[:6]] == ["v1.0.0"] * 6


async def _ask(client: httpx.AsyncClient, number: int) -> Any:
    reply = await client.post(
        "/predict",
        headers={"Content-Type": "application/json", "X-Request-ID": f"caller-{number}"},
        content=json.dumps(_house(number)).encode(),
    )
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-request-id"] == f"caller-{number}"
    return reply.json()
