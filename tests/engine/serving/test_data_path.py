"""The data path is one call that knows no HTTP: other ways in give bytes, and get bytes."""

import ast
import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from pydantic import TypeAdapter

from cli.server import ROOT
from engine.assemble import open_stores
from engine.domain.answer import AnsweredRows
from engine.domain.errors import InvalidInput, MalformedBody, UnknownVersion
from engine.domain.record import RecordQuery
from engine.domain.traffic import SHADOW
from engine.domain.version import Version
from engine.serving.data_path import DataPath, PredictionRequest, Reply
from engine.serving.deployment import VariantModel
from engine.serving.live import Live
from engine.serving.lookup import Resolver
from engine.serving.recorder import Recorder
from engine.serving.shadow import ShadowRequest, Shadows
from engine.settings import Settings
from engine.stores.features import MemoryFeatures
from engine.stores.memory_records import MemoryRecords
from problems.housing import HOUSING
from tests.conftest import HOUSE

CONTRACT = HOUSING.contracts[0]
BODY = TypeAdapter(CONTRACT.request(1_000))


class Silent:
    """Nobody is told which models are put in place."""

    def model_loaded(self, problem: str, version: str, variants: object) -> None: ...

    def model_refused(self, problem: str, reason: str) -> None: ...


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def told() -> list[AnsweredRows]:
    return []


@pytest.fixture
def path(
    settings: Settings, records: MemoryRecords, told: list[AnsweredRows]
) -> Iterator[DataPath]:
    stores = open_stores(settings, HOUSING.name)
    live = Live(
        HOUSING, stores.champion, stores.artifacts, train_command="train", listener=Silent()
    )
    live.refresh()
    with ExitStack() as running:
        resolver = Resolver(MemoryFeatures(), budget_seconds=1, tell=lambda *_: None)
        recorder = Recorder(records, mode="durable", limit=10, tell=lambda *_: None)
        shadows = Shadows(keep=told.append, skip=lambda *_: None)
        for one in (resolver, recorder, shadows):
            running.callback(one.close)
        yield DataPath(live, resolver, recorder, shadows, told=told.append, threshold=0.5)


async def ask(path: DataPath, body: bytes, **changes: object) -> Reply:
    async def read() -> bytes:
        return body

    return await path.predict(CONTRACT, BODY, PredictionRequest(read, **changes))  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_bytes_are_answered_recorded_and_told_as_over_http(
    path: DataPath, records: MemoryRecords, told: list[AnsweredRows], client: httpx.AsyncClient
) -> None:
    reply = await ask(path, json.dumps(HOUSE).encode(), unit="somebody", caller="a queue")
    said = json.loads(reply.content)
    over_http = (await client.post("/predict", json=HOUSE)).json()
    (kept,) = records.read(RecordQuery(HOUSING.name))
    assert reply.recorded == "committed"
    assert said["predicted_price"] == over_http["predicted_price"]
    assert said["confidence_interval"] == over_http["confidence_interval"]
    assert list(said) == list(over_http)
    assert (kept.record.id, kept.record.unit) == (said["prediction_id"], "somebody")
    assert [b.ids() for rows in told for b in rows.blocks()] == [[said["prediction_id"]]]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "error"),
    [(b"{", MalformedBody), (b"{}", InvalidInput)],
)
async def test_what_is_wrong_with_a_body_is_an_error_of_the_domain(
    path: DataPath, body: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ask(path, body)


@pytest.mark.anyio
async def test_a_body_is_not_read_before_there_is_a_version_to_answer_it(path: DataPath) -> None:
    async def read() -> bytes:
        raise AssertionError("the body was read")

    request = PredictionRequest(read, model_version="v9.0.0")
    with pytest.raises(UnknownVersion):
        await path.predict(CONTRACT, BODY, request)


@pytest.mark.anyio
async def test_a_shadow_that_is_one_no_more_is_let_go_by_the_next_request(
    path: DataPath, told: list[AnsweredRows]
) -> None:
    body = json.dumps(HOUSE).encode()
    await ask(path, body)
    model = path.live.champion()
    shadow = VariantModel(Version.parse("v1.1.0-rc.1"), SHADOW, model)
    rows = HOUSING.schema.encode([HOUSE])
    path.shadows.ask(ShadowRequest((shadow,), told[0], rows))
    assert list(path.shadows.running) == [shadow.version]
    await ask(path, body)
    assert not path.shadows.running


def test_the_room_knows_no_http() -> None:
    for file in (ROOT / "engine" / "serving").glob("*.py"):
        names = {
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not {name.split(".")[0] for name in names} & {"fastapi", "starlette", "httpx"}
