"""Asked before its lifespan has run, as by `TestClient(app)` without `with`, the app says so."""

import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from tests.trained import settings_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of httpx, which it takes where there is no httpx2
    from fastapi.testclient import TestClient

PAIR = {
    "user_id": "test_user",
    "item_id": "test_item",
    "item_price": 100.0,
    "item_base_price": 100.0,
    "item_discount_pct": 0.0,
    "item_category": "Test",
}


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """As the purchase document makes it."""
    return TestClient(create_app(settings_of(tmp_path, "purchase")))


def test_health_is_degraded_and_says_why(client: Any) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert "with TestClient(app)" in response.json()["reason"]


def test_health_has_every_field_of_a_started_service(client: Any, tmp_path: Path) -> None:
    with TestClient(create_app(settings_of(tmp_path, "purchase"))) as started:
        assert set(client.get("/health").json()) == set(started.get("/health").json())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/predict", {"features": [PAIR], "return_probabilities": True}),
        ("POST", "/feedback", {"prediction_id": "0-0", "actual": 1}),
        ("GET", "/ready", None),
        ("GET", "/model/info", None),
        ("POST", "/model/load", {"model_version": "v1.0.0"}),
        ("GET", "/deployment", None),
        ("PUT", "/deployment", {"variants": []}),
        ("GET", "/deployment/report", None),
        ("GET", "/metrics", None),
        ("GET", "/metrics/summary", None),
    ],
)
def test_what_needs_a_started_service_is_refused_with_the_way_out(
    client: Any, method: str, path: str, body: object
) -> None:
    response = client.request(method, path, json=body)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert "with TestClient(app)" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/live", "/status", "/docs", "/openapi.json"])
def test_what_needs_nothing_is_answered(client: Any, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_body_that_breaks_the_schema_is_refused_as_ever(client: Any) -> None:
    assert client.post("/feedback", json={"actual": 1}).status_code == 422
    assert client.get("/no/such/path").status_code == 404


@pytest.mark.anyio
async def test_a_server_without_lifespans_is_told_the_same(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(app=create_app(settings_of(tmp_path, "purchase")))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        reply = await client.post("/predict", json={"features": [PAIR]})
    assert reply.status_code == 503
    assert "lifespan has not run" in reply.json()["detail"]
