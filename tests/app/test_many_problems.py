"""One process serves several problems: the first at the root, each below its own name."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from engine.domain.errors import InvalidSetting
from problems import PROBLEMS
from tests.conftest import empty_settings, running
from tests.trained import folder_of_run, home_with, settings_of

pytestmark = pytest.mark.anyio

NAMES = ("churn", "purchase", "housing")


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = folder_of_run(tmp_path_factory)
    return home_with([PROBLEMS[name] for name in NAMES], run, tmp_path)


@pytest.fixture
async def client(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_of(home, *NAMES)) as client:
        yield client


def example(name: str) -> Mapping[str, Any]:
    return PROBLEMS[name].contracts[0].examples["documented"]


async def test_the_first_problem_is_at_the_root_and_each_below_its_name(
    client: httpx.AsyncClient,
) -> None:
    root = (await client.post("/predict", json=example("churn"))).json()
    for name, field in zip(NAMES, ("churn_risk", "predictions", "predicted_price"), strict=True):
        reply = await client.post(f"/v1/{name}/predict", json=example(name))
        assert reply.status_code == 200
        assert field in reply.json()
    below = (await client.post("/v1/churn/predict", json=example("churn"))).json()
    assert root["churn_risk"] == below["churn_risk"]
    assert (await client.post("/v1/basket/predict", json={"user_id": "a"})).status_code == 404


async def test_one_document_describes_all_of_them_each_under_its_tag(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    assert not [name for name in document["components"]["schemas"] if name.startswith("_")]
    for name in NAMES:
        for route in ("predict", "feedback", "model/info", "model/load", "deployment"):
            operations = paths[f"/v1/{name}/{route}"].values()
            assert all(operation["tags"] == [name] for operation in operations)
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


async def test_bounds_around_a_probability_are_wider_at_a_higher_level(
    client: httpx.AsyncClient,
) -> None:
    widths = []
    for confidence in (0.5, 0.9, 0.99):
        reply = await client.post(f"/predict?confidence={confidence}", json=example("churn"))
        bounds = reply.json()["risk_interval"]
        assert bounds["lower"] <= reply.json()["churn_risk"] <= bounds["upper"]
        widths.append(bounds["upper"] - bounds["lower"])
    assert widths[0] < widths[1] < widths[2]
    assert (await client.post("/predict?confidence=0.4", json=example("churn"))).status_code == 422


async def test_outcomes_of_an_event_are_0_or_1_and_belong_to_their_problem(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.post("/predict", json=example("churn"))
    outcome = {"prediction_id": reply.json()["prediction_id"], "actual": 1}
    half = await client.post("/feedback", json={**outcome, "actual": 0.5})
    elsewhere = await client.post("/v1/housing/feedback", json={**outcome, "actual": 100_000})
    kept = await client.post("/v1/churn/feedback", json=outcome)
    assert [one.status_code for one in (half, elsewhere, kept)] == [422, 404, 200]


async def test_an_unknown_category_is_answered_with_a_warning(client: httpx.AsyncClient) -> None:
    body = dict(example("churn"))
    body["features"] = {**body["features"], "plan": "platinum"}
    reply = await client.post("/predict", json=body)
    assert reply.status_code == 200
    assert "plan 'platinum' is not a known category" in reply.json()["warnings"][0]


async def test_readiness_waits_for_every_problem_and_names_the_one_that_lacks_a_model(
    home: Path,
) -> None:
    settings = settings_of(home, "housing", "basket")
    async with running(settings) as client:
        ready = await client.get("/ready")
        health = (await client.get("/health")).json()
        assert ready.status_code == 503
        assert "train_model.py --problem basket" in ready.json()["detail"]
        assert health["problems"] == {"housing": "v1.0.0", "basket": None}
        assert (await client.post("/predict", json=example("housing"))).status_code == 200


async def test_a_version_can_be_loaded_by_the_path_that_model_info_tells(home: Path) -> None:
    settings = settings_of(home, "purchase", "churn", admin_api_key="right" * 5)
    async with running(settings) as client:
        place = (await client.get("/model-info")).json()["model_path"]
        headers = {"X-API-Key": "right" * 5}
        kept = settings.data_dir / "models" / "purchase" / "v1.0.0.joblib"
        for path in (place, str(kept)):
            reply = await client.post("/load-model", json={"model_path": path}, headers=headers)
            assert (reply.status_code, reply.json()["model_version"]) == (200, "v1.0.0")
        other = settings.data_dir / "models" / "churn" / "v1.0.0.joblib"
        lost = await client.post("/load-model", json={"model_path": str(other)}, headers=headers)
        assert lost.status_code == 404


def test_a_model_path_without_a_place_for_the_name_serves_one_problem(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path, serve=("housing", "churn"))
    with pytest.raises(InvalidSetting, match="MODEL_PATH"):
        settings.model_of("churn")
    assert settings.model_of("housing") == tmp_path / "champion.joblib"


def test_a_problem_that_there_is_not_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"no problem flats .* --name flats"):
        create_app(settings_of(tmp_path, "flats"))
