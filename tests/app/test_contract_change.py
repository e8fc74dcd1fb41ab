"""A model made for another contract never answers in a service that runs: its numbers would be told
under the old names, units and labels. The old version goes on, and the service says why."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from engine.assemble import open_stores
from engine.domain.artifact import Artifact, Feature, ModelCard
from engine.domain.columns import Category, Column, Number
from engine.domain.contract import differences, same_contract
from engine.domain.effort import FAST
from engine.domain.kinds import BINARY, POSITIVE, REAL
from engine.domain.problem import Columns, Problem
from engine.domain.schema import Target
from engine.domain.version import FIRST, Version
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.settings import Settings
from engine.tables.split import split
from engine.tables.table import check
from problems.declared import Declaration, problem
from problems.housing import HOUSING
from tests.conftest import empty_settings, running

KEY = "right" * 5
ADMIN = {"X-API-Key": KEY}
ROWS = 1_500
OTHER, CANDIDATE = "v2.0.0", "v2.0.0-rc.1"
AGE = Number("age", "years", "Age.", 18, 90, 40)
PLAN = Category("plan", "Plan.", ("free", "paid"), "paid", may_be_missing=True)
OUTCOME = Target("outcome", "probability", "What came.", 0, 1, BINARY, ("left", "right"))
TURNED = replace(OUTCOME, labels=("right", "left"))
ROW = {"age": 80, "plan": "paid"}


def people(columns: tuple[Column, ...] = (AGE, PLAN), target: Target = OUTCOME) -> Problem:
    return problem("people", Declaration("people", columns, target, ("age",)))


OTHERS = [
    (people(target=TURNED), "labels of the target: 'right', 'left', not 'left', 'right'"),
    (people(target=replace(OUTCOME, labels=None)), "labels of the target: 0, 1, not 'left', 'righ"),
    (people(target=replace(OUTCOME, name="rent")), "target: rent, not outcome"),
    (people(target=replace(OUTCOME, unit="share")), "unit of the target: share, not probability"),
    (people(target=replace(OUTCOME, kind=REAL)), "kind of the target: real, not binary"),
    (
        people((AGE, replace(PLAN, categories=("paid", "free")))),
        "'paid', 'free', not 'free', 'paid",
    ),
    (people((replace(AGE, unit="months"), PLAN)), "unit of age: months, not years"),
    (people((replace(AGE, name="tenure"), PLAN)), "features: 'tenure', 'plan', not 'age', 'plan'"),
]
EACH = pytest.mark.parametrize(("other", "said"), OTHERS, ids=[said for _, said in OTHERS])


def simulated(rows: int, seed: int) -> Columns:
    """The old go right; a plan is missing now and then."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 90, rows).round()
    goes = rng.random(rows) < 1 / (1 + np.exp(-(age - 54) / 10))
    plan = rng.choice(np.array(["free", "paid", None], object), rows, p=[0.5, 0.4, 0.1])
    labels = np.where(goes, "right", "left").astype(object)
    return {"age": age, "plan": plan, "outcome": labels}


@pytest.fixture(scope="session")
def trained() -> Artifact:
    table = check(people(), simulated(ROWS, 1), "simulated")[0]
    origin = Origin(FIRST, "2026-01-01T00:00:00.000Z", 1)
    parts, candidate = split(table, 1), LEARNERS[BINARY].candidates[FAST][0]
    return train(people(), table, parts, candidate=candidate, origin=origin, tell=lambda step: None)


def made_for(other: Problem, trained: Artifact) -> Artifact:
    """The same trees under the card of a model that was trained for another contract."""
    features = tuple(
        Feature(
            name=column.name,
            type=column.type,
            unit=column.unit,
            low=old.low,
            high=old.high,
            categories=column.categories,
            may_be_missing=column.may_be_missing,
        )
        for column, old in zip(other.schema.columns, trained.card.features, strict=True)
    )
    target = other.target
    changed: dict[str, Any] = {
        "version": OTHER,
        "features": features,
        "target": target.name,
        "target_unit": target.unit,
        "target_kind": target.kind,
        "target_labels": target.labels,
        "declared": other.declared,
    }
    return replace(trained, card=trained.card.model_copy(update=changed))


@pytest.fixture
def settings(tmp_path: Path, trained: Artifact) -> Settings:
    settings = empty_settings(tmp_path, serve=("people",), admin_api_key=KEY)
    stores = open_stores(settings, "people")
    stores.artifacts.save(trained)
    stores.champion.move("trained", FIRST, who="tests", why="the first", after=0)
    return settings


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        yield client


def promote(settings: Settings, artifact: Artifact) -> None:
    """What `--yes-major` does in another process."""
    stores = open_stores(settings, "people")
    stores.artifacts.save(artifact)
    version = Version.parse(artifact.card.version)
    stores.champion.move("promoted", version, who="tests", why="another contract", after=1)


async def refused(client: httpx.AsyncClient) -> str:
    """Why the service is degraded, as soon as it is."""
    for _ in range(1_000):
        health = (await client.get("/health")).json()
        if health["status"] == "degraded":
            return str(health["reason"])
        await asyncio.sleep(0.02)
    raise AssertionError("still healthy")


def test_a_model_keeps_the_contract_it_was_trained_for(trained: Artifact) -> None:
    """Labels included; bounds and words may move, and gaps may come or go in one's own table."""
    wider = people((replace(AGE, high=120, description="In years."), PLAN))
    fuller = people((AGE, replace(PLAN, may_be_missing=False)))
    card = ModelCard.model_validate_json(trained.card.model_dump_json())
    for same in (people(), wider, fuller):
        assert same_contract(same, card)
        assert differences(same, card) == ""


@EACH
def test_whatever_differs_makes_another_contract_and_is_named(
    trained: Artifact, other: Problem, said: str
) -> None:
    card = made_for(other, trained).card
    assert same_contract(other, card)
    assert not same_contract(people(), card)
    assert said in differences(people(), card)


def test_cells_that_may_be_missing_are_a_term_of_a_problem_of_ours(
    artifacts: list[Artifact],
) -> None:
    card = artifacts[0].card
    first, *others = card.features
    gaps = (first.model_copy(update={"may_be_missing": True}), *others)
    changed = card.model_copy(update={"features": gaps})
    assert same_contract(HOUSING, card)
    said = "cells of square_feet: may be missing, not always there"
    assert differences(HOUSING, changed) == said


def test_of_many_differences_a_few_are_told(trained: Artifact) -> None:
    many = tuple(f"plan {number}" for number in range(200))
    card = made_for(
        people(
            (replace(AGE, unit="months", may_be_missing=True), replace(PLAN, categories=many)),
            Target("rent", "USD", "Rent.", 1, 9, POSITIVE),
        ),
        trained,
    ).card
    found = differences(people(), card)
    assert found.startswith("target: rent, not outcome; unit of the target: USD, not probability; ")
    assert found.endswith("; and 3 more")
    only = made_for(people((AGE, replace(PLAN, categories=many))), trained).card
    assert len(differences(people(), only)) < 300


def test_a_card_from_before_labels_and_gaps_were_kept_is_of_the_same_contract(
    artifacts: list[Artifact],
) -> None:
    """Those of the first releases: houses have neither."""
    gaps = {"features": {"__all__": {"may_be_missing"}}}
    older = artifacts[0].card.model_dump_json(exclude={"target_labels": True, **gaps})
    assert "labels" not in older
    assert "missing" not in older
    assert same_contract(HOUSING, ModelCard.model_validate_json(older))


@pytest.mark.anyio
@EACH
async def test_a_running_service_refuses_a_model_of_another_contract_and_goes_on(
    settings: Settings, client: httpx.AsyncClient, trained: Artifact, other: Problem, said: str
) -> None:
    before = (await client.post("/predict", json=ROW)).json()
    promote(settings, made_for(other, trained))
    reason = await refused(client)
    assert said in reason
    assert f"{OTHER} has another contract" in reason
    assert "restart the service" in reason
    after = (await client.post("/predict", json=ROW)).json()
    for field in ("prediction", "probability", "model_version"):
        assert after[field] == before[field]
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.anyio
async def test_such_a_version_can_be_neither_asked_nor_loaded_nor_sent_traffic(
    settings: Settings, client: httpx.AsyncClient, trained: Artifact
) -> None:
    candidate = made_for(people(target=TURNED), trained).named(Version.parse(CANDIDATE))
    open_stores(settings, "people").artifacts.save(candidate)
    wanted = {"model_version": CANDIDATE}
    variants = {"variants": [{**wanted, "mode": "shadow"}]}
    replies = [
        await client.post(f"/predict?model_version={CANDIDATE}", json=ROW),
        await client.post("/model/load", json=wanted, headers=ADMIN),
        await client.put("/deployment", json=variants, headers=ADMIN),
    ]
    for reply in replies:
        assert reply.status_code == 500
        assert f"{CANDIDATE} has another contract (labels of the target" in reply.json()["detail"]
    assert (await client.get("/model/info")).json()["model_version"] == "v1.0.0"
    assert (await client.get("/health")).json()["status"] == "healthy"


@pytest.mark.anyio
async def test_a_restart_answers_by_the_new_contract_and_refuses_the_old_one(
    settings: Settings, trained: Artifact
) -> None:
    async with running(settings) as client:
        before = (await client.post("/predict", json=ROW)).json()
    promote(settings, made_for(people(target=TURNED), trained))
    async with running(settings) as client:
        after = (await client.post("/predict", json=ROW)).json()
        pinned = await client.post("/predict?model_version=v1.0.0", json=ROW)
        assert (await client.get("/health")).json()["status"] == "healthy"
    assert (before["prediction"], after["prediction"]) == ("right", "left")
    assert after["model_version"] == OTHER
    assert pinned.status_code == 500
    assert "v1.0.0 has another contract" in pinned.json()["detail"]
