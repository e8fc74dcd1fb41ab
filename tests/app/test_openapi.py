"""The OpenAPI document is what the service does; nothing a client sends makes it fail."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.main import create_app
from engine.settings import Settings
from problems import PROBLEMS
from problems.churn import CHURN
from tests.conftest import HOUSE, running
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
KEY = "right" * 5
REFUSALS = {"400", "404", "408", "413", "415", "422", "500", "503"}


TAKES = {
    "housing_Outcome": ("/feedback", "POST"),
    "ChurnUser": ("/v1/churn/predict", "POST"),
    "LoadRequest": ("/model/load", "POST"),
    "WishedDeployment": ("/deployment", "PUT"),
}


@pytest.fixture
def settings_of_admin(
    home: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """House prices and churn, with two versions of the former and a key to change them."""
    shutil.copytree(home / "data", tmp_path / "data")
    shutil.copy(home / "champion.joblib", tmp_path / "housing_model.joblib")
    home_with([CHURN], folder_of_run(tmp_path_factory), tmp_path)
    return settings_of(tmp_path, "housing", "churn", admin_api_key=KEY)


@pytest.fixture(scope="module")
def document_of_both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a service of house prices and churn says of itself."""
    folder = tmp_path_factory.mktemp("document")
    return create_app(settings_of(folder, "housing", "churn")).openapi()


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


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
        assert set(responses) == {"200"} | REFUSALS | ({"406"} if "batch" in path else set())
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


async def test_the_documented_table_is_valid_and_so_is_the_answer_to_it(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    operation = document["paths"]["/predict/batch"]["post"]
    asked, said = operation["requestBody"]["content"], operation["responses"]["200"]["content"]
    assert [*asked] == [*said]
    form = "application/json; form=columns"
    example = asked[form]["examples"]["columns"]["value"]
    reply = await client.post("/predict/batch", json=example, headers={"Content-Type": form})
    assert validator(document, "housing_Table").is_valid(example)
    assert validator(document, "TablePredictions").is_valid(reply.json()), reply.text


async def test_what_the_schema_calls_invalid_is_refused_and_the_rest_is_answered(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    check = validator(document, "House")
    tried: dict[str, list[object]] = {
        "square_feet": [99.9, 100, 100_000, 100_000.1],
        "bedrooms": [-1, 0, 0.5, 50, 51],
        "age_years": [None, "1", True, 500, 501, []],
    }
    for field, value in ((name, value) for name in tried for value in tried[name]):
        house = {**HOUSE, field: value}
        expected = 200 if check.is_valid(house) else 422
        assert (await client.post("/predict", json=house)).status_code == expected, (field, value)


OUTCOME = {"prediction_id": "0-0", "actual": 100_000}
TEST = {"model_version": "v1.1.0-rc.1", "mode": "test", "share": 0.1}
USER = {"user_id": "12345", "features": {}}


@pytest.mark.parametrize(
    ("name", "body", "is_allowed"),
    [
        *(
            ("housing_Outcome", {**OUTCOME, "known_at": text}, is_allowed)
            for text, is_allowed in {
                "2026-11-20": True,
                "2024-02-29T23:59": True,
                "2026-11-20T12:00:00Z": True,
                "2026-11-20 12:00:00.5+01:00": True,
                "": False,
                "yesterday": False,
                "2023-02-29": False,
                "2026-11-20T24:01:00Z": False,
            }.items()
        ),
        *(
            ("ChurnUser", {**USER, "snapshot_date": text}, is_allowed)
            for text, is_allowed in {
                "2025-01-15": True,
                "2000-02-29": True,
                "1900-02-29": False,
                "2025-13-01": False,
                "2025-04-31": False,
                "20250115": False,
                "2025-W03-3": False,
                "": False,
            }.items()
        ),
        ("LoadRequest", {"model_version": "v9.9.9"}, True),
        ("LoadRequest", {"model_version": None, "model_path": "x"}, True),
        ("LoadRequest", {}, False),
        ("LoadRequest", {"model_version": None}, False),
        ("LoadRequest", {"model_version": "v1.0.0", "model_path": "x"}, False),
        ("WishedDeployment", {"variants": [], "revision": 3.0}, True),
        ("WishedDeployment", {"variants": [], "revision": 3.5}, False),
        ("WishedDeployment", {"variants": [], "revision": -1}, False),
        ("WishedDeployment", {"variants": [TEST]}, True),
        ("WishedDeployment", {"variants": [{**TEST, "share": 0}]}, False),
        ("WishedDeployment", {"variants": [{**TEST, "mode": "shadow"}]}, False),
        ("WishedDeployment", {"variants": [{**TEST, "mode": "shadow", "share": 0}]}, True),
        ("WishedDeployment", {"variants": [{**TEST, "mode": "canary"}] * 2}, False),
    ],
)
async def test_the_document_allows_what_the_service_takes_and_nothing_else(
    settings_of_admin: Settings,
    document_of_both: dict[str, Any],
    name: str,
    body: dict[str, Any],
    is_allowed: bool,
) -> None:
    """The truth about the version, the prediction or the revision is another matter: 404, 409."""
    path, method = TAKES[name]
    async with running(settings_of_admin) as client:
        reply = await client.request(method, path, json=body, headers={"X-API-Key": KEY})
    assert validator(document_of_both, name).is_valid(body) is is_allowed
    assert (reply.status_code != 422) is is_allowed, reply.text


async def test_a_unit_that_the_document_allows_reaches_the_service(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    """Blanks around the value of a header are lost on the way."""
    parameters = document["paths"]["/predict"]["post"]["parameters"]
    (unit,) = (one["schema"] for one in parameters if one["name"] == "X-Unit-ID")
    for text in (" ", " a", "a "):
        assert not Draft202012Validator(unit).is_valid(text)
    for text in ("a", "~", "a b"):
        assert Draft202012Validator(unit).is_valid(text)
        reply = await client.post("/predict", json=HOUSE, headers={"X-Unit-ID": text})
        assert reply.status_code == 200


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
