"""The basket service as its users know it: a name goes in, a price with an interval comes out."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from engine.assemble import open_features
from engine.domain.features import Features
from problems.basket import BASKET, DOCUMENTED, simulate
from tests.conftest import running
from tests.trained import folder_of_run, home_with, settings_of

CALIBRATION_ROWS = 400
NEW = "2026-01-01T00:00:00.000Z"
LOYAL = dict(zip(BASKET.schema.names, (120.0, 24, 8, 20), strict=True))


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The champion, and the features of the documented users and of one more, `loyal`."""
    home_with([BASKET], folder_of_run(tmp_path_factory), tmp_path)
    assert BASKET.lookup is not None
    table = BASKET.lookup.simulate(10, 1)
    names = BASKET.schema.names
    known = [
        Features(key, at, dict(zip(names, row, strict=True)))
        for key, at, *row in zip(
            table["user_id"], table["at"], *(table[name].tolist() for name in names), strict=True
        )
    ]
    with closing(open_features(settings_of(tmp_path, "basket"))) as store:
        store.put("basket", [*known, Features("loyal", NEW, LOYAL)])
    return tmp_path


@pytest.fixture
async def client(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_of(home, "basket")) as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("user", ["abc123", DOCUMENTED], ids=["abc123", "hash"])
async def test_the_documented_users_get_the_documented_fields(
    client: httpx.AsyncClient, user: str
) -> None:
    reply = (await client.post("/predict", json={"user_id": user})).json()
    assert reply["user_id"] == user
    assert 30 < reply["predicted_price"] < 90
    assert reply["timestamp"].endswith("Z")
    bounds = reply["confidence_interval"]
    assert 0 < bounds["lower"] < reply["predicted_price"] < bounds["upper"]
    assert (reply["confidence"], reply["degraded"], reply["warnings"]) == (0.9, False, [])


@pytest.mark.anyio
async def test_a_user_nobody_knows_is_not_found(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={"user_id": "invalid_user"})
    assert reply.status_code == 404
    assert "invalid_user" in reply.json()["detail"]


@pytest.mark.anyio
async def test_a_batch_answers_each_user_in_order_as_if_asked_alone(
    client: httpx.AsyncClient,
) -> None:
    users = ["loyal", "abc123", "loyal"]
    batch = (await client.post("/predict/batch", json={"user_ids": users})).json()
    assert batch["count"] == 3
    for user, one in zip(users, batch["predictions"], strict=True):
        alone = (await client.post("/predict", json={"user_id": user})).json()
        for field in ("user_id", "predicted_price", "confidence_interval", "degraded"):
            assert one[field] == alone[field]


@pytest.mark.anyio
async def test_a_loyal_users_next_basket_is_known_better_than_a_newcomers(
    client: httpx.AsyncClient,
) -> None:
    body = {"user_ids": ["loyal", "abc123"]}
    batch = (await client.post("/predict/batch", json=body)).json()["predictions"]
    loyal, new = (one["confidence_interval"] for one in batch)
    assert loyal["upper"] / loyal["lower"] < new["upper"] / new["lower"]


@pytest.mark.anyio
async def test_while_nothing_can_be_looked_up_a_typical_user_answers_and_it_is_told(
    home: Path,
) -> None:
    broken = home / "broken.db"
    broken.write_text("this is no database")
    settings = settings_of(home, "basket", features_url=f"sqlite:///{broken}")
    async with running(settings) as client:
        reply = await client.post("/predict", json={"user_id": "abc123"})
    assert reply.status_code == 200
    said = reply.json()
    assert said["degraded"]
    assert "could not be looked up" in said["warnings"][0]
    prices = simulate(20_000, 1)["basket_price"]
    bounds = said["confidence_interval"]
    covered = np.mean((prices >= bounds["lower"]) & (prices <= bounds["upper"]))
    assert covered > 0.9 - 3 * (0.09 / (CALIBRATION_ROWS + 2) + 0.09 / len(prices)) ** 0.5


@pytest.mark.anyio
@pytest.mark.parametrize("body", [{}, {"user_id": 7}, {"user_id": ""}, {"user_id": "u" * 201}])
async def test_what_names_nobody_is_refused(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    reply = await client.post("/predict", json=body)
    assert reply.status_code == 422
    assert "user_id" in reply.json()["detail"]
