"""A/B tests, canaries and shadows over HTTP: who answers, what is recorded, who may change it."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.routes.deployment import REPORT_SECONDS, REST
from cli.deployment import deployment
from engine.assemble import open_records, open_stores
from engine.domain import history
from engine.domain.effort import FAST
from engine.domain.record import JoinedRecord, RecordQuery
from engine.domain.version import Version
from engine.learning.estimators import CANDIDATES
from engine.learning.train import Origin, train
from engine.serving.live import now
from engine.settings import Settings
from engine.tables.split import split
from problems.housing import HOUSING
from tests.app.test_model import until
from tests.cli.test_retrain import environment
from tests.conftest import HOUSE, market, running
from tests.scripts import Done, run_here, run_process

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]
KEY = "right" * 5
JSON = {"Content-Type": "application/json"}
ADMIN = {"X-API-Key": KEY}
CHALLENGER = "v1.1.0-rc.1"
HALF = {"model_version": CHALLENGER, "mode": "test", "share": 0.5}
SHADOW = {"model_version": CHALLENGER, "mode": "shadow"}


@pytest.fixture
def admin(settings: Settings) -> Settings:
    return settings.model_copy(update={"admin_api_key": SecretStr(KEY)})


@pytest.fixture
def unwatched(admin: Settings) -> Settings:
    """The same, and only requests change the deployment: a report on one that was looked at again
    meanwhile is made anew."""
    return admin.model_copy(update={"model_poll_seconds": 600})


async def deploy(client: httpx.AsyncClient, *variants: dict[str, Any]) -> httpx.Response:
    return await client.put("/deployment", json={"variants": list(variants)}, headers=ADMIN)


async def versions(client: httpx.AsyncClient, units: Sequence[str]) -> list[str]:
    replies = [
        await client.post("/predict", json=HOUSE, headers={"X-Unit-ID": unit}) for unit in units
    ]
    return [reply.json()["model_version"] for reply in replies]


def recorded(settings: Settings) -> list[JoinedRecord]:
    records = open_records(settings)
    try:
        return list(records.read(RecordQuery("housing")))
    finally:
        records.close()


async def test_a_test_answers_its_share_and_every_unit_keeps_its_version(admin: Settings) -> None:
    units = [f"user {number}" for number in range(60)]
    async with running(admin) as client:
        reply = await deploy(client, HALF)
        first = await versions(client, units)
        again = await versions(client, units)
    async with running(admin) as restarted, running(admin) as replica:
        assert await versions(restarted, units) == first
        assert await versions(replica, units) == first
    assert reply.status_code == 200, reply.text
    assert reply.json()["champion"] == {"model_version": "v1.0.0", "share": 0.5}
    assert again == first
    assert 10 < Counter(first)[CHALLENGER] < 50


async def test_a_change_of_the_share_moves_only_units_that_must(admin: Settings) -> None:
    units = [f"user {number}" for number in range(60)]
    async with running(admin) as client:
        await deploy(client, {**HALF, "share": 0.2})
        small = await versions(client, units)
        await deploy(client, HALF)
        large = await versions(client, units)
    pairs = Counter(zip(small, large, strict=True))
    assert pairs[CHALLENGER, "v1.0.0"] == 0
    assert pairs["v1.0.0", CHALLENGER] > 0


async def test_without_a_named_unit_the_features_decide_row_by_row(admin: Settings) -> None:
    houses = [{**HOUSE, "square_feet": 1_000 + number} for number in range(60)]
    async with running(admin) as client:
        await deploy(client, HALF)
        batch = (await client.post("/predict/batch", json={"houses": houses})).json()
        single = [(await client.post("/predict", json=house)).json() for house in houses]
        pinned = [
            (await client.post(f"/predict/batch?model_version={v}", json={"houses": houses})).json()
            for v in ("v1.0.0", CHALLENGER)
        ]
    answers = batch["predictions"]
    assert 10 < Counter(one["model_version"] for one in answers)[CHALLENGER] < 50
    assert [same(one) for one in answers] == [same(one) for one in single]
    for number, answer in enumerate(answers):
        own = pinned[answer["model_version"] == CHALLENGER]["predictions"][number]
        assert same(own) == same(answer)


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when it was asked."""
    kept = ("predicted_price", "confidence_interval", "model_version", "warnings")
    return {name: answer[name] for name in kept}


async def test_every_answer_is_recorded_with_its_variant(admin: Settings) -> None:
    async with running(admin) as client:
        await deploy(client, HALF)
        replies = [
            await client.post("/predict", json=HOUSE, headers={"X-Unit-ID": f"user {number}"})
            for number in range(20)
        ]
        pinned = await client.post("/predict?model_version=v1.0.0&confidence=0.8", json=HOUSE)
    answers = [reply.json() for reply in replies]
    found = {joined.record.id: joined.record for joined in recorded(admin)}
    assert {reply.headers["x-recorded"] for reply in replies} == {"committed"}
    assert len(found) == 21
    for answer in answers:
        record = found[answer["prediction_id"]]
        assert record.version == answer["model_version"]
        assert record.variant == ("test" if record.version == CHALLENGER else "champion")
        assert record.row == HOUSE
        assert round(record.value or 0, 2) == answer["predicted_price"]
        assert record.at == answer["predicted_at"]
    last = found[pinned.json()["prediction_id"]]
    assert (last.variant, last.level, last.unit) == ("pinned", 0.8, None)
    assert last.request_id == pinned.headers["x-request-id"]


async def test_a_shadow_is_recorded_beside_the_answer_and_never_given(admin: Settings) -> None:
    async with running(admin) as client:
        await deploy(client, SHADOW)
        answer = (await client.post("/predict", json=HOUSE)).json()
        expected = (await client.post(f"/predict?model_version={CHALLENGER}", json=HOUSE)).json()
    mine = {
        j.record.variant: j.record
        for j in recorded(admin)
        if j.record.id == answer["prediction_id"]
    }
    assert answer["model_version"] == "v1.0.0"
    assert set(mine) == {"champion", "shadow"}
    assert mine["shadow"].version == CHALLENGER
    assert round(mine["shadow"].value or 0, 2) == expected["predicted_price"]


async def test_a_variant_that_fails_costs_the_caller_nothing_and_is_recorded(
    admin: Settings,
) -> None:
    """A model of few rows cannot vouch for 99 %; the champion can, and answers in its place."""
    small = register_small(admin)
    async with running(admin) as client:
        reply = await deploy(client, {"model_version": small, "mode": "canary", "share": 0.9999})
        assert reply.status_code == 200, reply.text
        answer = (await client.post("/predict?confidence=0.99", json=HOUSE)).json()
        expected = await client.post("/predict?confidence=0.99&model_version=v1.0.0", json=HOUSE)
        metrics = (await client.get("/metrics")).text
    mine = {j.record.variant: j.record for j in recorded(admin)}
    assert same(answer) == same(expected.json())
    assert set(mine) == {"canary", "fallback", "pinned"}
    assert mine["canary"].id == mine["fallback"].id == answer["prediction_id"]
    assert mine["canary"].value is None
    assert "UnsupportedConfidence" in (mine["canary"].error or "")
    assert f'failures_total{{model_version="{small}",problem="housing"}} 1.0' in metrics


def register_small(settings: Settings) -> str:
    table = market(300, seed=5)
    artifact = train(
        HOUSING,
        table,
        split(table, seed=1),
        candidate=CANDIDATES[FAST][0],
        origin=Origin(Version.parse("v1.2.0-rc.1"), "2026-01-01T00:00:00Z", seed=1),
        tell=lambda step: None,
    )
    open_stores(settings, "housing").artifacts.save(artifact)
    return artifact.card.version


async def test_a_damaged_variant_is_refused_and_the_champion_answers_its_units(
    admin: Settings,
) -> None:
    async with running(admin) as client:
        await deploy(client, {**HALF, "share": 0.9999})
    file = admin.data_dir / "models" / "housing" / f"{CHALLENGER}.joblib"
    whole = file.read_bytes()
    file.write_bytes(whole[:1_000] + bytes([whole[1_000] ^ 1]) + whole[1_001:])
    async with running(admin) as client:
        health = (await client.get("/health")).json()
        damaged = (await client.post("/predict", json=HOUSE)).json()
        file.write_bytes(whole)
        await until(client, "/health", status="healthy")
        mended = (await client.post("/predict", json=HOUSE)).json()
    assert health["status"] == "degraded"
    assert CHALLENGER in health["reason"]
    assert damaged["model_version"] == "v1.0.0"
    assert mended["model_version"] == CHALLENGER
    assert "altered" in next(j.record.error or "" for j in recorded(admin) if j.record.error)


async def report(client: httpx.AsyncClient, path: str = "/deployment/report") -> dict[str, Any]:
    reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_a_report_counts_what_was_answered_and_says_when_it_was_made(
    unwatched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.deployment.REPORT_SECONDS", 600)
    async with running(unwatched) as client:
        await deploy(client, HALF)
        before = now()
        said = Counter(await versions(client, [f"user {number}" for number in range(60)]))
        found = await report(client)
        below = await report(client, "/v1/housing/deployment/report")
        await deploy(client, SHADOW)
        changed = await report(client)
    (compared,) = found["comparisons"]
    assert before <= found["made_at"] <= now()
    assert compared["champion"]["predictions"] == said["v1.0.0"]
    assert compared["variant"]["predictions"] == said[CHALLENGER]
    assert below == found
    assert [one["mode"] for one in changed["comparisons"]] == ["shadow"]


async def test_who_asks_for_reports_in_a_loop_gets_few_new_ones(
    unwatched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is good for many times as long as it took: here a second passes at every look at the
    clock, and one while a report is made."""
    monkeypatch.setattr("app.routes.deployment.REPORT_SECONDS", 0)
    looks = count()
    monkeypatch.setattr("app.routes.deployment.monotonic", lambda: next(looks))
    same = 0
    async with running(unwatched) as client:
        await deploy(client, HALF)
        await client.post("/predict/batch", json={"houses": [HOUSE] * 1_000})
        first = await report(client)
        while await report(client) == first:
            same += 1
    assert same == REST


async def test_a_report_that_fails_is_not_tried_in_a_loop_either(
    unwatched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin_with(sign: str) -> None:
        with closing(sqlite3.connect(unwatched.data_dir / "records.db")) as people:
            changed = "UPDATE answers SET content = CAST(? || substr(content, 2) AS BLOB)"
            people.execute(changed, [sign])
            people.commit()

    seconds = 0.0
    monkeypatch.setattr("app.routes.deployment.monotonic", lambda: seconds)
    async with running(unwatched) as client:
        await deploy(client, HALF)
        await client.post("/predict", json=HOUSE)
        begin_with("?")
        failed = await client.get("/deployment/report")
        begin_with("{")
        seconds = REPORT_SECONDS
        again = await client.get("/deployment/report")
        seconds += 0.001
        assert (await report(client))["champion"] == "v1.0.0"
    assert failed.status_code == again.status_code == 503
    assert "cannot be read" in failed.json()["detail"]


async def test_without_variants_no_record_is_read_for_a_report(admin: Settings) -> None:
    admin.data_dir.joinpath("records.db").write_bytes(b"not a database" * 99)
    async with running(admin) as client:
        assert (await report(client))["comparisons"] == []
        await deploy(client, HALF)
        assert (await client.get("/deployment/report")).status_code == 503


async def test_who_changes_the_deployment_is_in_the_history(admin: Settings) -> None:
    async with running(admin) as client:
        body = {"variants": [HALF], "why": "try it", "revision": 1}
        done = await client.put("/deployment", json=body, headers=ADMIN)
        info = (await client.get("/model/info")).json()
    event = open_stores(admin, "housing").champion.history()[-1]
    assert done.json()["revision"] == 2
    assert (event.action, event.who, event.why) == ("arranged", "HTTP", "try it")
    assert info["history"][-1]["variants"] == {CHALLENGER: "test 0.5"}
    assert info["champion_since"] == info["history"][0]["at"]


async def test_a_new_champion_starts_alone(admin: Settings) -> None:
    async with running(admin) as client:
        await deploy(client, HALF)
        await client.post("/model/load", json={"model_version": CHALLENGER}, headers=ADMIN)
        now = (await client.get("/v1/housing/deployment")).json()
    assert now["champion"] == {"model_version": CHALLENGER, "share": 1.0}
    assert now["variants"] == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"variants": [{**HALF, "model_version": "v9.0.0"}]}, 404, "no version v9.0.0"),
        ({"variants": [{**HALF, "model_version": "v1.0.0"}]}, 422, "is the champion"),
        ({"variants": [{**HALF, "share": 1.5}]}, 422, "share"),
        ({"variants": [{**HALF, "share": "half"}]}, 422, "share"),
        ({"variants": [{**SHADOW, "share": 0.5}]}, 422, "a shadow answers no request"),
        ({"variants": [HALF, HALF]}, 422, "more than once"),
        ({"variants": [{**HALF, "mode": "mirror"}]}, 422, "mode"),
        ({"variants": [HALF], "revision": 7}, 409, "revision 1, not 7"),
        ({"variants": [HALF], "color": "red"}, 422, "color"),
        ({}, 422, "variants"),
        ({"variants": [{**HALF, "share": float("nan")}]}, 422, "share"),
    ],
)
async def test_a_deployment_that_cannot_be_is_refused_and_nothing_changes(
    admin: Settings, body: dict[str, Any], status: int, reason: str
) -> None:
    async with running(admin) as client:
        headers = {**ADMIN, **JSON}
        reply = await client.put("/deployment", content=json.dumps(body), headers=headers)
        now = (await client.get("/deployment")).json()
    assert (reply.status_code, reason in reply.json()["detail"]) == (status, True), reply.text
    assert (now["revision"], now["variants"]) == (1, [])


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/deployment", b'{"variants": []', JSON, 400),
        ("/deployment", b'{"variants": [], "variants": []}', JSON, 400),
        ("/deployment", b'{"variants": []}', {"Content-Type": "text/plain"}, 415),
        ("/deployment", b" " * 9_999, JSON, 413),
        ("/deployment?force=1", b'{"variants": []}', JSON, 422),
    ],
)
async def test_a_body_that_is_none_is_refused_as_everywhere(
    admin: Settings, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    async with running(admin) as client:
        reply = await client.put(path, content=content, headers={**ADMIN, **headers})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_two_units_for_one_request_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("X-Unit-ID", "one"), ("X-Unit-ID", "two")]
    reply = await client.post("/predict", json=HOUSE, headers=headers)
    assert reply.status_code == 422
    assert "X-Unit-ID" in reply.json()["detail"]


async def test_a_variant_in_memory_goes_on_when_its_file_is_damaged(admin: Settings) -> None:
    file = admin.data_dir / "models" / "housing" / f"{CHALLENGER}.joblib"
    async with running(admin) as client:
        await deploy(client, {**HALF, "share": 0.9999})
        file.write_bytes(b"damaged")
        stores = open_stores(admin, "housing")
        past = stores.champion.history()
        move = stores.champion.move
        move(history.Action.KEPT, past[-1].version, who="tests", why="a verdict", after=len(past))
        await until(client, "/deployment", revision=3)
        await asyncio.sleep(10 * admin.model_poll_seconds)
        answer = (await client.post("/predict", json=HOUSE)).json()
        health = (await client.get("/health")).json()
    assert answer["model_version"] == CHALLENGER
    assert health["status"] == "healthy"


async def test_only_the_admin_sets_the_deployment(admin: Settings) -> None:
    async with running(admin) as client:
        for headers in ({}, {"X-API-Key": "wrong" * 5}):
            reply = await client.put("/deployment", json={"variants": [HALF]}, headers=headers)
            assert reply.status_code == 403


async def test_the_command_does_the_same(admin: Settings) -> None:
    async with running(admin) as client:
        done = command(admin, "set", f"{CHALLENGER}:canary:0.1", "--why", "a first look")
        assert done.returncode == 0, done.stderr
        assert "10.00%" in done.stdout
        for _ in range(1_000):
            now = (await client.get("/deployment")).json()
            if now["variants"]:
                break
            await asyncio.sleep(0.02)
    assert now["variants"] == [{"model_version": CHALLENGER, "mode": "canary", "share": 0.1}]
    assert "a first look" in command(admin, "show").stdout
    assert command(admin, "clear").returncode == 0
    assert open_stores(admin, "housing").champion.history()[-1].traffic.variants == ()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("set", "v9.0.0:shadow"), 1, "no version v9.0.0"),
        (("set", "v1.0.0:shadow"), 1, "is the champion"),
        (("set", "nonsense"), 2, "VERSION:MODE"),
        (("set", f"{CHALLENGER}:test:much"), 2, "VERSION:MODE"),
        ((), 2, "Commands:"),
    ],
)
def test_the_command_refuses_in_one_line(
    settings: Settings, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done = run_here(deployment, *arguments, environment=environment(settings))
    assert done.returncode == code
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def command(settings: Settings, *arguments: str) -> Done:
    return run_process("deployment", *arguments, environment=environment(settings))
