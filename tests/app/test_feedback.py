"""What truly happened, joined to what was said by the prediction's id."""

import asyncio
from collections.abc import Sequence
from threading import Semaphore
from typing import Any

import httpx
import pytest

from app.routes.feedback import WRITERS
from engine.domain.record import Outcome
from engine.settings import Settings
from engine.stores.records import SqlRecords
from tests.app.test_deployment import recorded
from tests.app.test_recording import locked
from tests.conftest import HOUSE, running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]
NOBODY = "019a9c1e2f3b5cf04e53a9a0f0b0a9f4-0"


async def predict(client: httpx.AsyncClient, rows: int = 1) -> list[str]:
    body = {"houses": [HOUSE] * rows}
    answers = (await client.post("/predict/batch", json=body)).json()["predictions"]
    return [answer["prediction_id"] for answer in answers]


async def test_an_outcome_joins_its_prediction(settings: Settings) -> None:
    async with running(settings) as client:
        (name,) = await predict(client)
        body = {"prediction_id": name, "actual": 512_000, "known_at": "2026-11-20T13:00:00+01:00"}
        reply = await client.post("/feedback", json=body)
    joined = recorded(settings)[0]
    assert reply.json() == {"status": "recorded", "recorded": 1, "unchanged": 0}
    assert joined.record.id == name
    assert joined.outcome is not None
    assert joined.outcome.actual == 512_000
    assert joined.outcome.known_at == "2026-11-20T12:00:00.000Z"


async def test_many_outcomes_come_in_any_order_at_the_problems_own_path(settings: Settings) -> None:
    async with running(settings) as client:
        names = await predict(client, rows=1_000)
        late = [{"prediction_id": n, "actual": 1_000 + i} for i, n in enumerate(names)][::-1]
        reply = await client.post("/v1/housing/feedback", json={"outcomes": late})
    actual = {j.record.id: j.outcome.actual for j in recorded(settings) if j.outcome}
    assert reply.json()["recorded"] == 1_000, reply.text
    assert actual == {name: 1_000 + number for number, name in enumerate(names)}


async def test_saying_it_again_changes_nothing_and_saying_otherwise_is_refused(
    settings: Settings,
) -> None:
    async with running(settings) as client:
        first, second = await predict(client, rows=2)
        said = {"prediction_id": first, "actual": 512_000.5}
        await client.post("/feedback", json=said)
        again = await client.post("/feedback", json=said)
        both = {"outcomes": [{"prediction_id": second, "actual": 5_000}, {**said, "actual": 7_000}]}
        other = await client.post("/feedback", json=both)
        summary = (await client.get("/metrics/summary")).json()
    outcomes = {j.record.id: j.outcome for j in recorded(settings)}
    assert again.json() == {"status": "recorded", "recorded": 0, "unchanged": 1}
    assert other.status_code == 409
    assert first in other.json()["detail"]
    assert outcomes[second] is None
    kept = outcomes[first]
    assert kept is not None
    assert kept.actual == 512_000.5
    assert summary["outcomes"] == {"new": 1, "unchanged": 1}


async def test_an_unknown_prediction_is_named_and_nothing_of_the_request_is_kept(
    settings: Settings,
) -> None:
    async with running(settings) as client:
        (name,) = await predict(client)
        body = [{"prediction_id": name, "actual": 5e5}, {"prediction_id": NOBODY, "actual": 5e5}]
        reply = await client.post("/feedback", json={"outcomes": body})
    assert reply.status_code == 404
    assert NOBODY in reply.json()["detail"]
    assert recorded(settings)[0].outcome is None


ONE = {"prediction_id": NOBODY, "actual": 512_000}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prediction_id": NOBODY}, "/actual"),
        ({"actual": 1}, "/prediction_id"),
        ({**ONE, "actual": "512000"}, "/actual"),
        ({**ONE, "actual": True}, "/actual"),
        ({**ONE, "actual": -1}, "/actual"),
        ({**ONE, "known_at": "yesterday"}, "/known_at"),
        ({**ONE, "known_at": 0}, "/known_at"),
        ({**ONE, "known_at": "1700000000"}, "/known_at"),
        ({**ONE, "known_at": "9999-12-31T23:59:59Z"}, "/known_at"),
        ({**ONE, "known_at": "9999-12-31T23:59:59-10:00"}, "/known_at"),
        ({**ONE, "known_at": "0001-01-01T00:00:00+14:00"}, "/known_at"),
        ({**ONE, "colour": "red"}, "/colour"),
        ({**ONE, "prediction_id": "a b"}, "/prediction_id"),
        ({"outcomes": []}, "/outcomes"),
        ({"outcomes": [ONE] * 1_001}, "/outcomes"),
        ({"outcomes": [ONE, {**ONE, "actual": None}]}, "/outcomes/1/actual"),
    ],
)
async def test_a_wrong_body_is_told_by_its_place(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    reply = await client.post("/feedback", json=body)
    assert reply.status_code == 422, reply.text
    assert pointer in [error["pointer"] for error in reply.json()["errors"]]


@pytest.mark.parametrize("actual", ["NaN", "Infinity", "1e400"])
async def test_what_is_no_number_is_no_outcome(client: httpx.AsyncClient, actual: str) -> None:
    content = f'{{"prediction_id": "{NOBODY}", "actual": {actual}}}'
    headers = {"Content-Type": "application/json"}
    reply = await client.post("/feedback", content=content, headers=headers)
    assert reply.status_code == 422


async def test_outcomes_that_wait_for_a_locked_database_hold_up_no_prediction(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are threads wait until all predictions are answered; what waited for
    the database is kept then, and the others are told at once that it fails."""
    monkeypatch.setattr("engine.serving.recorder.PATIENCE_SECONDS", 0.1)
    came = labelling(monkeypatch)
    async with running(settings) as client:
        (name,) = await predict(client)
        said = {"prediction_id": name, "actual": 5e5}
        with locked(settings.data_dir / "records.db"):
            waiting = [asyncio.create_task(client.post("/feedback", json=said)) for _ in range(20)]
            for _ in range(WRITERS):
                await asyncio.to_thread(came.acquire)
            for _ in range(5):
                assert len(await predict(client, rows=1_000)) == 1_000
            assert not any(task.done() for task in waiting)
        replies = await asyncio.gather(*waiting)
    kept = [reply.json()["recorded"] for reply in replies if reply.status_code == 200]
    assert sum(kept) == 1


def labelling(monkeypatch: pytest.MonkeyPatch) -> Semaphore:
    """Released by each who comes to the database with outcomes."""
    came, really_label = Semaphore(0), SqlRecords.label

    def label_and_note(store: SqlRecords, problem: str, outcomes: Sequence[Outcome]) -> int:
        came.release()
        return really_label(store, problem, outcomes)

    monkeypatch.setattr(SqlRecords, "label", label_and_note)
    return came


async def test_outcomes_that_a_locked_database_does_not_take_are_to_be_sent_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.stores.records.BUSY_SECONDS", 0.1)
    async with running(settings) as client:
        (name,) = await predict(client)
        said = {"prediction_id": name, "actual": 5e5}
        with locked(settings.data_dir / "records.db"):
            asked = [client.post("/feedback", json=said) for _ in range(20)]
            replies = await asyncio.gather(*asked)
    assert {reply.status_code for reply in replies} == {503}
    assert {reply.headers["retry-after"] for reply in replies} == {"2"}
