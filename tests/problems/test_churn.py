"""The churn service as its users know it: documented bodies, risks that make sense."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.prediction import Interval, Prediction
from problems.churn import CHURN, simulate
from problems.replies import chances
from tests.conftest import running
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio

ACTIVE = {
    "active_days_7d": 3,
    "active_days_14d": 5,
    "active_days_30d": 12,
    "events_7d": 25,
    "watch_minutes_7d": 120.5,
    "watch_minutes_14d": 250.0,
    "watch_minutes_30d": 600.0,
    "quiz_attempts_7d": 2,
    "quiz_avg_score_7d": 85.0,
    "days_since_last_activity": 0,
    "days_since_signup": 45,
    "payment_fail_rate_30d": 0.0,
    "plan": "paid",
    "is_paid": 1,
    "country": "US",
    "marketing_source": "organic",
}
SNAPSHOT = {"user_id": "12345", "snapshot_date": "2025-01-15", "features": ACTIVE}
CURL = {
    "user_id": "test_user",
    "features": {
        "active_days_7d": 3,
        "watch_minutes_7d": 120,
        "days_since_last_activity": 0,
        "plan": "paid",
    },
}
AWAY = {
    **ACTIVE,
    "active_days_7d": 0,
    "active_days_14d": 0,
    "active_days_30d": 1,
    "events_7d": 0,
    "watch_minutes_7d": 0,
    "watch_minutes_14d": 0,
    "watch_minutes_30d": 12.5,
    "quiz_attempts_7d": 0,
    "quiz_avg_score_7d": None,
    "days_since_last_activity": 24,
    "payment_fail_rate_30d": 0.5,
}


@pytest.fixture
async def client(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    home = home_with([CHURN], folder_of_run(tmp_path_factory), tmp_path)
    async with running(settings_of(home, "churn")) as client:
        yield client


async def risk(client: httpx.AsyncClient, **features: Any) -> float:
    reply = await client.post("/predict", json={"user_id": "u", "features": features})
    assert reply.status_code == 200, reply.text
    return float(reply.json()["churn_risk"])


@pytest.mark.parametrize("body", [SNAPSHOT, CURL], ids=["snapshot", "curl"])
async def test_the_documented_bodies_get_the_documented_fields(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    reply = (await client.post("/predict", json=body)).json()
    assert reply["user_id"] == body["user_id"]
    assert 0 < reply["churn_risk"] < 1
    assert reply["model_path"].endswith("churn_model.joblib")
    assert reply["snapshot_date"] == body.get("snapshot_date")
    assert reply["risk_interval"]["lower"] <= reply["churn_risk"] <= reply["risk_interval"]["upper"]
    assert reply["risk_interval"]["confidence"] == 0.9
    assert (reply["model_version"], reply["warnings"]) == ("v1.0.0", [])


async def test_who_stays_away_is_at_a_higher_risk_than_who_is_active(
    client: httpx.AsyncClient,
) -> None:
    base = simulate(20_000, 1)["churned"].mean()
    assert await risk(client, **ACTIVE) < base < 2 * base < await risk(client, **AWAY)


async def test_what_is_absent_is_missing_just_as_null_is(client: httpx.AsyncClient) -> None:
    absent = {name: value for name, value in ACTIVE.items() if name != "country"}
    assert await risk(client, **absent) == await risk(client, **{**ACTIVE, "country": None})
    assert 0 < await risk(client) < 1


async def test_an_unknown_plan_counts_as_missing_and_is_told(client: httpx.AsyncClient) -> None:
    strange = {**ACTIVE, "plan": "platinum"}
    reply = await client.post("/predict", json={"user_id": "u", "features": strange})
    assert reply.json()["churn_risk"] == await risk(client, **{**ACTIVE, "plan": None})
    assert "plan 'platinum'" in reply.json()["warnings"][0]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"features": ACTIVE}, "user_id"),
        ({"user_id": "u"}, "features"),
        ({"user_id": "", "features": {}}, "user_id"),
        ({"user_id": "u", "features": {"active_days_7d": 8}}, "active_days_7d"),
        ({"user_id": "u", "features": {"is_paid": True}}, "is_paid"),
        ({"user_id": "u", "features": {}, "snapshot_date": "15/01/2025"}, "snapshot_date"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    client: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    reply = await client.post("/predict", json=wrong)
    assert reply.status_code == 422
    assert field in reply.json()["detail"]


async def test_a_batch_answers_each_user_in_order_as_if_asked_alone(
    client: httpx.AsyncClient,
) -> None:
    users = [SNAPSHOT, CURL, {"user_id": "away", "features": AWAY}]
    batch = (await client.post("/predict/batch", json={"users": users})).json()
    alone = [(await client.post("/predict", json=user)).json() for user in users]
    assert batch["count"] == 3
    for one, other in zip(batch["predictions"], alone, strict=True):
        for field in ("user_id", "snapshot_date", "churn_risk", "risk_interval"):
            assert one[field] == other[field]


PROBABILITIES = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(bounds=st.lists(PROBABILITIES, min_size=2, max_size=2).map(sorted), place=st.floats(0, 1))
def test_rounding_leaves_a_probability_inside_its_bounds_and_never_certain(
    bounds: list[float], place: float
) -> None:
    low, high = bounds
    value = min(max(low + place * (high - low), low), high)
    interval = Interval(np.array([low]), np.array([high]), DEFAULT_CONFIDENCE)
    said = Prediction(np.array([value]), interval, [[]])
    (told,), (around,) = chances(said)
    assert 0 < told < 1
    assert told == pytest.approx(value, abs=1.01e-6)
    assert 0 <= around["lower"] <= told <= around["upper"] <= 1
