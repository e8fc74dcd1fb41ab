"""The OpenAPI document is what the service does; nothing a client sends makes it fail."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.main import create_app
from problems import PROBLEMS
from tests.conftest import HOUSE
from tests.trained import settings_of

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
REFUSALS = {"400", "404", "408", "413", "415", "422", "500", "503"}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    return (await client.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema)


async def test_it_is_openapi_3_1_and_every_reference_leads_somewhere(
    document: dict[str, Any],
) -> None:
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert document["openapi"].startswith("3.1")
    assert names <= set(document["components"]["schemas"])


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(ids) == len(set(ids))


async def test_every_prediction_route_declares_every_refusal(document: dict[str, Any]) -> None:
    for path in ("/predict", "/predict/batch", "/v1/housing/predict", "/v1/housing/predict/batch"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {"200"} | REFUSALS
        for status in REFUSALS:
            content = responses[status]["content"]["application/problem+json"]
            validator(document, "ProblemDetails").validate(content["example"])


def test_every_field_of_every_problem_has_a_description_with_its_unit(tmp_path: Path) -> None:
    document = create_app(settings_of(tmp_path, *PROBLEMS)).openapi()
    for name, schema in document["components"]["schemas"].items():
        for field, facts in schema.get("properties", {}).items():
            known = "$ref" in facts or "$ref" in facts.get("items", {})
            assert known or "Unit: " in facts.get("description", ""), f"{name}.{field}"


async def test_the_documented_bodies_are_valid_and_so_are_the_answers_to_them(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path in ("/predict", "/predict/batch"):
        operation = document["paths"][path]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        example = content["examples"]["documented"]["value"]
        reply = await client.post(path, json=example)
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert validator(document, content["schema"]["$ref"].split("/")[-1]).is_valid(example)
        assert validator(document, answered.split("/")[-1]).is_valid(reply.json())


async def test_what_the_schema_calls_invalid_is_refused_and_the_rest_is_answered(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    check = validator(document, "House")
    for field, value in (
        *(("square_feet", value) for value in (99.9, 100, 100_000, 100_000.1)),
        *(("bedrooms", value) for value in (-1, 0, 0.5, 50, 51)),
        *(("age_years", value) for value in (None, "1", True, 500, 501, [])),
    ):
        house = {**HOUSE, field: value}
        expected = 200 if check.is_valid(house) else 422
        assert (await client.post("/predict", json=house)).status_code == expected, (field, value)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=8,
)
NEARLY_A_HOUSE = st.fixed_dictionaries({name: st.floats() | ANY_JSON for name in HOUSE})
BODIES = (
    st.binary(max_size=200)
    | ANY_JSON.map(lambda value: json.dumps(value).encode())
    | NEARLY_A_HOUSE.map(lambda value: json.dumps(value).encode())
    | st.lists(NEARLY_A_HOUSE, max_size=3).map(lambda rows: json.dumps({"houses": rows}).encode())
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=BODIES, path=st.sampled_from(["/predict", "/predict/batch"]))
async def test_no_body_makes_the_service_fail(
    client: httpx.AsyncClient, body: bytes, path: str
) -> None:
    reply = await client.post(path, content=body, headers=JSON)
    assert reply.status_code in {200, 400, 422}
    assert reply.status_code == 200 or reply.json()["detail"]
