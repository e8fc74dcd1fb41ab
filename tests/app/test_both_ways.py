"""A prediction is answered before the router, or by it (a page of another origin asks that way):
both say the same, of good requests and of bad ones."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from tests.conftest import HOUSE

pytestmark = pytest.mark.anyio
_JSON = {"Content-Type": "application/json"}
_BY_THE_ROUTER = {"Origin": "http://another.example"}
_QUERIES = (
    *(
        "",
        "confidence=0.8",
        "confidence=%30.8",
        "confidence=",
        "confidence=nan",
        "confidence=1e400",
    ),
    *(
        "confidence=0.3",
        "confidence=0.8&confidence=0.9",
        "model_version=v1.1.0-rc.1",
        "Confidence=1",
    ),
    *("model_version=", "model_version=v9.9.9", "model_version=&confidence=7", "foo=1", "x" * 300),
)
_HEADERS: tuple[Mapping[str, str], ...] = (
    {**_JSON, "X-Unit-ID": "somebody"},
    {**_JSON, "X-Unit-ID": ""},
    {**_JSON, "X-Unit-ID": "x" * 201},
    {"Content-Type": "text/plain"},
    {"Content-Type": "APPLICATION/JSON; charset=utf-8"},
    {"Content-Type": "application/vnd.house+json"},
    {},
)
_BODIES = (
    *(b"", b"{", b"null", b"[1]", b"{}", b"\xff\xfe", b'{"square_feet": NaN}'),
    json.dumps({**HOUSE, "square_feet": "2000"}).encode(),
    json.dumps({**HOUSE, "garage": 1}).encode(),
    json.dumps({**HOUSE, "square_feet": 99_999}).encode(),
    json.dumps(HOUSE).replace("{", '{"square_feet": 1, ', 1).encode(),
    b" " * 2_000_000,
)
_HOUSE = json.dumps(HOUSE).encode()
_CASES: list[tuple[str, Mapping[str, str], bytes]] = [
    *((f"/predict?{query}", _JSON, _HOUSE) for query in _QUERIES),
    *(("/predict?confidence=0.7", headers, _HOUSE) for headers in _HEADERS),
    *(("/predict", _JSON, body) for body in _BODIES),
    ("/v1/housing/predict", _JSON, _HOUSE),
    ("/predict/batch", _JSON, json.dumps({"houses": [HOUSE, {**HOUSE, "bedrooms": 2}]}).encode()),
    ("/predict/batch", _JSON, json.dumps({"houses": [HOUSE, {**HOUSE, "bedrooms": "2"}]}).encode()),
    ("/predict/batch", _JSON, json.dumps({"houses": []}).encode()),
]


def _lasting(reply: httpx.Response) -> tuple[int, Any, list[tuple[str, str]]]:
    """A reply without its names and times."""
    text = re.sub(r'"(prediction|request)_id":"[0-9a-f]{32}', r'"\1_id":"', reply.text)
    text = re.sub(r'"predicted_at":"[^"]*"', '"predicted_at":""', text)
    return reply.status_code, text, sorted(reply.headers.items() - {_id_of(reply)})


def _id_of(reply: httpx.Response) -> tuple[str, str]:
    return "x-request-id", reply.headers["x-request-id"]


@pytest.mark.parametrize(("url", "headers", "body"), _CASES)
async def test_both_ways_say_the_same(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: bytes
) -> None:
    first = await client.post(url, headers=headers, content=body)
    routed = await client.post(url, headers={**headers, **_BY_THE_ROUTER}, content=body)
    assert _lasting(first) == _lasting(routed)


async def test_both_ways_are_counted_under_the_declared_route(client: httpx.AsyncClient) -> None:
    for more in ({}, _BY_THE_ROUTER):
        await client.post("/predict", headers={**_JSON, **more}, content=_HOUSE)
        await client.post("/predict", headers={**_JSON, **more}, content=b"{")
    requests = (await client.get("/metrics/summary")).json()["requests"]["by_route"]
    assert requests["/predict"] == 4


@pytest.mark.parametrize("more", [{}, _BY_THE_ROUTER])
async def test_a_body_that_does_not_arrive_is_given_up(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, str]
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield _HOUSE[:10]
        await asyncio.sleep(5)
        yield _HOUSE[10:]

    monkeypatch.setattr("app.body._BODY_SECONDS", 0.05)
    reply = await client.post("/predict", headers={**_JSON, **more}, content=body())
    assert (reply.status_code, reply.json()["title"]) == (408, "Request Timeout")
    assert (await client.post("/predict", headers=_JSON, content=_HOUSE)).status_code == 200
