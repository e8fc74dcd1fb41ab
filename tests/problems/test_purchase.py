"""The purchase service as its users know it: documented bodies, thresholds, confidence words."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.answer import Answer
from problems.purchase import PURCHASE, confidence, purchases_of, simulate
from tests.conftest import running
from tests.replies import answer_of
from tests.trained import folder_of_run, home_with, settings_of

PAIR = {
    "user_id": "user_000123",
    "item_id": "item_00456",
    "days_since_last_view": 2.5,
    "days_since_last_item_view": 5.0,
    "view_count_7d": 15,
    "view_count_30d": 45,
    "cart_count_7d": 2,
    "cart_count_30d": 5,
    "purchase_count_7d": 0,
    "purchase_count_30d": 1,
    "cart_to_purchase_ratio": 0.2,
    "avg_session_duration": 12.5,
    "session_item_count": 8,
    "session_duration_minutes": 15.0,
    "item_view_count": 3,
    "item_cart_count": 1,
    "item_price": 89.99,
    "item_base_price": 129.99,
    "item_discount_pct": 30.0,
    "item_category": "Electronics",
}
ITEM = {"item_price": 89.99, "item_base_price": 129.99, "item_discount_pct": 30.0}
IDS = {"user_id": "user_000123", "item_id": "item_00456"}
OPTIONS = {"return_probabilities": True, "threshold": 0.5}
CURL = {**IDS, **ITEM, "item_category": "Electronics"}
PYTHON = {**CURL, "days_since_last_view": 2.5, "view_count_7d": 15}
TEST = {
    "user_id": "test_user",
    "item_id": "test_item",
    "item_price": 100.0,
    "item_base_price": 100.0,
    "item_discount_pct": 0.0,
    "item_category": "Test",
}
BODIES: dict[str, dict[str, Any]] = {
    "documented": {"features": [PAIR], **OPTIONS},
    "curl": {"features": [CURL], **OPTIONS},
    "python": {"features": [PYTHON], **OPTIONS},
    "test": {"features": [TEST], "return_probabilities": True},
}


@pytest.fixture
async def client(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    home = home_with([PURCHASE], folder_of_run(tmp_path_factory), tmp_path)
    async with running(settings_of(home, "purchase")) as client:
        yield client


async def predict(client: httpx.AsyncClient, *rows: dict[str, Any], **options: Any) -> Any:
    reply = await client.post("/predict", json={"features": rows, **options})
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.anyio
@pytest.mark.parametrize("name", BODIES)
async def test_the_documented_bodies_get_the_documented_fields(
    client: httpx.AsyncClient, name: str
) -> None:
    body = BODIES[name]
    reply = await client.post("/predict", json=body)
    assert reply.status_code == 200
    said = reply.json()
    (row,) = said["predictions"]
    assert (row["user_id"], row["item_id"]) == (
        body["features"][0]["user_id"],
        body["features"][0]["item_id"],
    )
    assert 0 < row["probability"] < 1
    assert row["prediction"] == (row["probability"] >= 0.5)
    assert row["confidence"] in {"high", "medium", "low"}
    assert said["model_version"] == row["model_version"] == "v1.0.0"
    assert said["timestamp"].endswith("Z")
    assert said["latency_ms"] > 0
    assert (said["threshold"], said["return_probabilities"]) == (0.5, True)


@pytest.mark.anyio
async def test_an_unknown_category_counts_as_missing_and_is_told(
    client: httpx.AsyncClient,
) -> None:
    plain = {name: value for name, value in TEST.items() if name != "item_category"}
    strange, known = (await predict(client, TEST, plain))["predictions"]
    assert strange["probability"] == known["probability"]
    assert "item_category 'Test'" in strange["warnings"][0]
    assert known["warnings"] == []


@pytest.mark.anyio
async def test_who_has_a_reduced_item_in_the_cart_buys_it_more_often_than_others(
    client: httpx.AsyncClient,
) -> None:
    idle = {**PAIR, "item_cart_count": 0, "item_view_count": 1, "item_discount_pct": 0.0}
    idle |= {"cart_count_7d": 0, "cart_count_30d": 0, "days_since_last_item_view": 25.0}
    wanted, unwanted = (await predict(client, PAIR, idle))["predictions"]
    base = simulate(20_000, 1)["purchased"].mean()
    assert unwanted["probability"] < base < 1.5 * base < wanted["probability"]


@pytest.mark.anyio
async def test_probabilities_are_told_only_where_they_are_wished_for(
    client: httpx.AsyncClient,
) -> None:
    said = await predict(client, PAIR, return_probabilities=False, threshold=0)
    (row,) = said["predictions"]
    assert (row["probability"], row["interval"], row["prediction"]) == (None, None, 1)
    assert (said["threshold"], said["return_probabilities"]) == (0, False)


@pytest.mark.anyio
async def test_the_threshold_is_a_setting_and_a_request_may_name_another(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = home_with([PURCHASE], folder_of_run(tmp_path_factory), tmp_path)
    async with running(settings_of(home, "purchase", default_threshold=0.0)) as client:
        silent = await predict(client, PAIR)
        named = await predict(client, PAIR, threshold=1)
    assert (silent["threshold"], silent["predictions"][0]["prediction"]) == (0, 1)
    assert (named["threshold"], named["predictions"][0]["prediction"]) == (1, 0)


@pytest.mark.anyio
async def test_a_thousand_pairs_are_answered_in_order_and_one_more_is_refused(
    client: httpx.AsyncClient,
) -> None:
    pairs = [{**PAIR, "item_id": f"item_{number}"} for number in range(1_001)]
    said = await predict(client, *pairs[:1_000])
    assert [row["item_id"] for row in said["predictions"]] == [p["item_id"] for p in pairs[:1_000]]
    reply = await client.post("/predict", json={"features": pairs})
    assert reply.status_code == 422


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"return_probabilities": 1}, "return_probabilities"),
        ({"features": [{"item_id": "only"}]}, "user_id"),
        ({"features": [{**PAIR, "view_count_7d": 1.5}]}, "view_count_7d"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    reply = await client.post("/predict", json={"features": [PAIR], **change})
    assert reply.status_code == 422
    assert field in reply.json()["detail"]


def answer(values: list[float], lower: list[float], upper: list[float], *versions: str) -> Answer:
    return answer_of(values, lower, upper, versions=versions)


def test_versions_that_answered_are_named_once_each_in_their_order() -> None:
    rows = {"features": [PAIR] * 3}
    said = purchases_of(answer([0.3] * 3, [0.2] * 3, [0.4] * 3, "v1.1.0", "v1.0.0", "v1.1.0"), rows)
    assert said["model_version"] == "v1.1.0, v1.0.0"
    assert [row["model_version"] for row in said["predictions"]] == ["v1.1.0", "v1.0.0", "v1.1.0"]


@pytest.mark.parametrize(
    ("lower", "upper", "threshold", "word"),
    [
        (0.72, 0.83, 0.5, "high"),
        (0.55, 0.83, 0.5, "medium"),
        (0.45, 0.83, 0.5, "low"),
        (0.01, 0.02, 0.5, "high"),
        (0.36, 0.45, 0.5, "medium"),
        (0.01, 0.02, 0.05, "high"),
        (0.01, 0.04, 0.05, "medium"),
        (0.0, 1.0, 0.5, "low"),
        (0.0, 0.2, 0.0, "high"),
        (0.6, 0.9, 1.0, "high"),
    ],
)
def test_confidence_is_how_clearly_the_interval_lies_on_one_side_of_the_threshold(
    lower: float, upper: float, threshold: float, word: str
) -> None:
    assert confidence({"lower": lower, "upper": upper, "confidence": 0.9}, threshold) == word


@given(
    places=st.lists(st.floats(1e-6, 1 - 1e-6), min_size=3, max_size=3).map(sorted),
    threshold=st.floats(0, 1),
)
def test_only_a_low_confidence_admits_that_the_other_prediction_may_be_right(
    places: list[float], threshold: float
) -> None:
    low, value, high = places
    body = {"features": [PAIR], "threshold": threshold}
    (row,) = purchases_of(answer([value], [low], [high], "v1.0.0"), body)["predictions"]
    assert row["probability"] is not None
    assert row["interval"] is not None
    assert row["prediction"] == (row["probability"] >= threshold)
    sides = {row["interval"]["lower"] >= threshold, row["interval"]["upper"] >= threshold}
    assert (row["confidence"] == "low") == (len(sides) == 2)
