"""What a caller is promised, over HTTP only."""

import json
from collections.abc import AsyncIterator
from itertools import pairwise

import httpx
import pytest
from pydantic import SecretStr

from engine.settings import Settings
from tests.conftest import HOUSE, running

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
KEY = "right" * 5
HOUSES = {"houses": [HOUSE, {**HOUSE, "square_feet": 1500}]}


def body(**changes: object) -> str:
    return json.dumps({**HOUSE, **changes})


async def test_a_house_gets_a_price_with_an_interval(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json=HOUSE)
    answer = reply.json()
    assert reply.status_code == 200
    interval = answer["confidence_interval"]
    assert 0 < interval["lower"] < answer["predicted_price"] < interval["upper"]
    assert answer["model_version"] == "v1.0.0"
    assert answer["confidence"] == 0.9
    assert answer["warnings"] == []
    assert answer["predicted_at"].endswith("Z")


async def test_every_prediction_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    replies = [(await client.post("/predict/batch", json=HOUSES)).json() for _ in range(3)]
    ids = {one["prediction_id"] for reply in replies for one in reply["predictions"]}
    assert len(ids) == 6


async def test_a_batch_answers_in_order_as_single_requests_do(client: httpx.AsyncClient) -> None:
    batch = (await client.post("/predict/batch", json=HOUSES)).json()
    singles = [(await client.post("/predict", json=house)).json() for house in HOUSES["houses"]]
    assert batch["count"] == 2
    assert [one["predicted_price"] for one in batch["predictions"]] == [
        one["predicted_price"] for one in singles
    ]


async def test_the_largest_batch_is_answered_and_one_more_is_refused(
    client: httpx.AsyncClient,
) -> None:
    full = await client.post("/predict/batch", json={"houses": [HOUSE] * 1000})
    over = await client.post("/predict/batch", json={"houses": [HOUSE] * 1001})
    assert len(full.json()["predictions"]) == 1000
    assert over.status_code == 422
    assert "at most 1000" in over.json()["detail"]


async def test_a_higher_confidence_contains_a_lower_one(client: httpx.AsyncClient) -> None:
    intervals = []
    for confidence in (0.5, 0.8, 0.9):
        reply = await client.post(f"/predict?confidence={confidence}", json=HOUSE)
        intervals.append(reply.json()["confidence_interval"])
    for inner, outer in pairwise(intervals):
        assert outer["lower"] < inner["lower"] < inner["upper"] < outer["upper"]


async def test_any_registered_version_can_be_asked(client: httpx.AsyncClient) -> None:
    champion = (await client.post("/predict", json=HOUSE)).json()
    pinned = (await client.post("/predict?model_version=v1.1.0-rc.1", json=HOUSE)).json()
    assert pinned["model_version"] == "v1.1.0-rc.1"
    assert pinned["predicted_price"] != champion["predicted_price"]


@pytest.mark.parametrize("version", ["v9.9.9", "latest", "../../etc/passwd", "v1.0", "1" * 50])
async def test_an_unknown_version_is_not_found(client: httpx.AsyncClient, version: str) -> None:
    reply = await client.post("/predict", params={"model_version": version}, json=HOUSE)
    assert reply.status_code == 404


async def test_a_version_without_a_name_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict?model_version=", json=HOUSE)
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith("model_version: ")


async def test_the_same_routes_stand_below_the_name_of_the_problem(
    client: httpx.AsyncClient,
) -> None:
    root = (await client.post("/predict", json=HOUSE)).json()
    named = (await client.post("/v1/housing/predict", json=HOUSE)).json()
    assert named["predicted_price"] == root["predicted_price"]


async def test_a_house_unlike_any_in_training_is_answered_with_a_warning(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.post("/predict", json={**HOUSE, "square_feet": 90_000})
    assert reply.status_code == 200
    (warning,) = reply.json()["warnings"]
    assert "square_feet 90000 is outside" in warning


@pytest.mark.parametrize(
    ("content", "status", "field", "rule"),
    [
        (body(square_feet=-1), 422, "square_feet", "greater_than_equal"),
        (body(square_feet=1e9), 422, "square_feet", "less_than_equal"),
        (body(square_feet="3"), 422, "square_feet", "float_type"),
        (body(bedrooms=True), 422, "bedrooms", "float_type"),
        (body(bedrooms=2.5), 422, "bedrooms", "multiple_of"),
        (body(bathrooms=None), 422, "bathrooms", "float_type"),
        (body(garage=1), 422, "garage", "extra_forbidden"),
        (body(age_years=float("nan")), 422, "age_years", "finite_number"),
        (body(age_years=float("inf")), 422, "age_years", "finite_number"),
        (body(age_years=0).replace('"age_years": 0', '"age_years": 1e400'), 422, "age_years", None),
        ("{}", 422, "square_feet", "missing"),
        ("[]", 422, "", "dict_type"),
        ("null", 422, "", "dict_type"),
        ("3", 422, "", "dict_type"),
    ],
)
async def test_a_body_that_breaks_the_schema_is_told_the_field_and_the_rule(
    client: httpx.AsyncClient, content: str, status: int, field: str, rule: str | None
) -> None:
    reply = await client.post("/predict", content=content, headers=JSON)
    problem = reply.json()
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["errors"][0]["field"] == field
    assert rule is None or problem["errors"][0]["rule"] == rule
    assert field in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b'{"\xed\xa0\x80": 1}',
        b'{"\\ud800": 1}',
        b'{"square_feet": ' + b"9" * 5_000 + b"}",
        body().encode().replace(b"{", b'{"bedrooms": 9, ', 1),
    ],
    ids=[
        *("empty", "open", "text", "utf-16", "deep list", "deep object"),
        *("surrogate bytes", "lone surrogate", "long number", "duplicate key"),
    ],
)
async def test_a_body_that_is_not_plain_json_is_a_bad_request(
    client: httpx.AsyncClient, content: bytes
) -> None:
    reply = await client.post("/predict", content=content, headers=JSON)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_key_that_stands_twice_in_one_row_of_a_batch_is_named(
    client: httpx.AsyncClient,
) -> None:
    content = json.dumps(HOUSES).replace('"bedrooms": 3', '"bedrooms": 3, "bedrooms": 4', 1)
    reply = await client.post("/predict/batch", content=content, headers=JSON)
    assert reply.status_code == 400
    assert "'bedrooms'" in reply.json()["detail"]


async def test_a_batch_with_a_bad_row_is_refused_whole_naming_row_and_field(
    client: httpx.AsyncClient,
) -> None:
    rows = [HOUSE, HOUSE, {**HOUSE, "bathrooms": -1}]
    reply = await client.post("/predict/batch", json={"houses": rows})
    (error,) = reply.json()["errors"]
    assert reply.status_code == 422
    assert (error["row"], error["field"]) == (2, "bathrooms")
    assert error["pointer"] == "/houses/2/bathrooms"
    assert reply.json()["detail"].startswith("row 2, bathrooms: ")


async def test_a_thousand_bad_rows_get_a_short_answer(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict/batch", json={"houses": [{}] * 1000})
    assert len(reply.json()["errors"]) == 20
    assert "and 4997 more" in reply.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_not_declared_as_json_is_an_unsupported_type(
    client: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    reply = await client.post("/predict", content=body(), headers=headers)
    assert reply.status_code == 415
    assert "application/json" in reply.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_too_large(client: httpx.AsyncClient, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536

    content = chunks() if chunked else b" " * 10_485_760
    reply = await client.post("/predict", content=content, headers=JSON)
    assert reply.status_code == 413
    assert "MAX_BODY_BYTES" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "limit", "is_set"),
    [
        ("POST", "/predict", 1_048_576, True),
        ("POST", "/feedback", 1_048_576, True),
        ("POST", "/model/load", 2_048, False),
        ("PUT", "/deployment", 4_096, False),
    ],
)
async def test_a_body_that_is_too_large_is_told_the_limit_of_its_route(
    settings: Settings, method: str, path: str, limit: int, is_set: bool
) -> None:
    opened = settings.model_copy(update={"admin_api_key": SecretStr(KEY)})
    headers = {**JSON, "X-API-Key": KEY}
    async with running(opened) as client:
        reply = await client.request(method, path, content=b" " * (limit + 1), headers=headers)
        fits = await client.request(method, path, content=b" " * limit, headers=headers)
    assert (reply.status_code, fits.status_code) == (413, 400)
    assert f" {limit} bytes" in reply.json()["detail"]
    assert ("MAX_BODY_BYTES" in reply.json()["detail"]) is is_set


@pytest.mark.parametrize("confidence", ["0.49", "1", "nan", "high", "-inf", ""])
async def test_a_confidence_that_cannot_be_meant_is_refused(
    client: httpx.AsyncClient, confidence: str
) -> None:
    reply = await client.post("/predict", params={"confidence": confidence}, json=HOUSE)
    assert reply.status_code == 422
    assert "confidence" in reply.json()["detail"]


async def test_a_request_id_is_echoed_and_an_odd_one_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.post("/predict", json=HOUSE, headers={"X-Request-ID": "order-17"})
    odd = await client.post("/predict", json={}, headers={"X-Request-ID": "a b\t" * 99})
    assert kept.headers["x-request-id"] == "order-17"
    assert len(odd.headers["x-request-id"]) == 32
    assert odd.json()["request_id"] == odd.headers["x-request-id"]


async def test_unknown_paths_and_methods_are_problem_documents(client: httpx.AsyncClient) -> None:
    lost = await client.get("/predictions")
    wrong = await client.get("/predict")
    assert (lost.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "POST"
    assert lost.json()["instance"] == "/predictions"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/deployment", "GET, PUT"),
        ("PATCH", "/v1/housing/deployment", "GET, PUT"),
        ("GET", "/model/load", "POST"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("POST", "/static-offline-docs/favicon.png", "GET, HEAD"),
    ],
)
async def test_the_allow_header_has_every_method_of_the_path(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/openapi.json", "/openapi.json"),
        ("/docs", "/docs"),
        ("/docs/oauth2-redirect", "/docs/oauth2-redirect"),
        ("/redoc", "/redoc"),
        ("/redoc.js", "/redoc.js"),
        ("/static-offline-docs/swagger-ui.css", "/static-offline-docs"),
        ("/static-offline-docs/none", "/static-offline-docs"),
    ],
)
async def test_the_documentation_is_counted_under_its_routes(
    client: httpx.AsyncClient, path: str, route: str
) -> None:
    await client.get(path)
    counted = (await client.get("/metrics/summary")).json()["requests"]["by_route"]
    assert counted == {route: 1}


async def test_the_metrics_count_what_was_asked(client: httpx.AsyncClient) -> None:
    await client.post("/predict/batch", json=HOUSES)
    await client.post("/predict", json={})
    await client.get("/no/such/path")
    text = (await client.get("/metrics")).text
    summary = (await client.get("/metrics/summary")).json()
    batch = 'predictive_http_requests_total{method="POST",route="/predict/batch",status="200"} 1.0'
    assert batch in text
    labels = 'model_version="v1.0.0",problem="housing",variant="champion"'
    assert f"predictive_predictions_total{{{labels}}} 2.0" in text
    assert 'route="unmatched",status="404"' in text
    assert "/no/such" not in text
    assert summary["predictions"] == {
        "total": 2,
        "by_version": {"housing": {"v1.0.0": 2}},
        "by_variant": {"champion": 2},
    }
    assert summary["errors"]["by_status"]["422"] == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"status": "running", "docs": "/docs", "health": "/health"}),
        ("/live", {"status": "live"}),
        ("/ready", {"status": "ready", "model_version": "v1.0.0"}),
        ("/health", {"status": "healthy", "model_loaded": True, "model_version": "v1.0.0"}),
        ("/status", {"status": "OK"}),
    ],
)
async def test_the_signs_of_life_are_as_documented(
    client: httpx.AsyncClient, path: str, expected: dict[str, object]
) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    assert expected.items() <= reply.json().items()


async def test_only_named_origins_may_ask_from_a_browser(
    settings: Settings,
) -> None:
    allowed = settings.model_copy(update={"cors_origins": ["https://shop.example"]})
    headers = {"Access-Control-Request-Method": "POST"}
    async with running(allowed) as client:
        ours = await client.options(
            "/predict", headers={**headers, "Origin": "https://shop.example"}
        )
        other = await client.options("/predict", headers={**headers, "Origin": "https://x.example"})
        admin = await client.options(
            "/deployment",
            headers={
                "Origin": "https://shop.example",
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "X-API-Key, Content-Type",
            },
        )
    assert admin.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "query", ["confidance=0.5", "confidence=0.9&confidence=0.5", "model_version=v1.0.0&x=1"]
)
async def test_a_parameter_that_is_unknown_or_stands_twice_is_refused(
    client: httpx.AsyncClient, query: str
) -> None:
    reply = await client.post(f"/predict?{query}", json=HOUSE)
    assert reply.status_code == 422
    assert "unknown or appears more than once" in reply.json()["detail"]
