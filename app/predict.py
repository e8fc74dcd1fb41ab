"""The prediction routes, made from a problem's contracts."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from app.errors import LONGEST_NAME, invalid
from app.live import Live, now
from app.openapi import refusals, request_body
from engine.domain.conformal import DEFAULT_CONFIDENCE, HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE
from engine.domain.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidInput,
    MalformedBody,
    UnsupportedMediaType,
    Violation,
)
from engine.domain.prediction import Answer, Prediction
from engine.domain.problem import Contract, Problem
from engine.domain.schema import Matrix
from engine.serving.served import ServedModel
from engine.settings import Settings

BODY_SECONDS = 20
INLINE_BYTES = 16_384
PARAMETERS = {"confidence", "model_version"}

Confidence = Annotated[
    float,
    Query(
        ge=LOWEST_CONFIDENCE,
        le=HIGHEST_CONFIDENCE,
        description="How often the interval should hold the truth. Unit: share.",
    ),
]
PinnedVersion = Annotated[
    str | None,
    Query(
        max_length=50,
        description="A registered version to ask instead of the champion. Unit: none.",
        examples=["v1.0.0"],
    ),
]
Endpoint = Callable[..., Coroutine[Any, Any, Response]]


def router(problem: Problem, *, prefix: str, settings: Settings) -> APIRouter:
    """All prediction routes of a problem, below `prefix`."""
    routes = APIRouter(prefix=prefix, tags=[problem.name])
    for contract in problem.contracts:
        routes.add_api_route(
            contract.path,
            endpoint(problem, contract, settings),
            methods=["POST"],
            summary=contract.summary,
            operation_id=f"{prefix}{contract.path}".strip("/").replace("/", "_"),
            response_model=contract.reply,
            openapi_extra=request_body(contract, settings.max_batch_size),
            responses=refusals(400, 404, 408, 413, 415, 422, 500, 503),
        )
    return routes


def endpoint(problem: Problem, contract: Contract, settings: Settings) -> Endpoint:
    """Body to reply: validate, encode, infer, answer."""
    body_type: TypeAdapter[Any] = TypeAdapter(contract.request(settings.max_batch_size))

    async def predict(
        request: Request,
        model_version: PinnedVersion = None,
        confidence: Confidence = DEFAULT_CONFIDENCE,
    ) -> Response:
        live: Live = request.state.live
        served = await live.version(model_version) if model_version else live.champion()
        check_names(request)
        body = await parsed(body_type, await read(request, settings.max_body_bytes))
        rows = problem.schema.encode(contract.rows(body))
        prediction = await infer(served, rows, confidence)
        request.state.metrics.predicted(problem.name, served.card.version, len(rows))
        return reply(contract, served, prediction)

    return predict


async def read(request: Request, limit: int) -> bytes:
    """The body, never more than `limit` bytes of it in memory.

    Raises UnsupportedMediaType when it is not declared as JSON, BodyTooLarge or BodyTooSlow.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("send the body as Content-Type: application/json")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLarge(f"MAX_BODY_BYTES is {limit}; send fewer rows at a time")
    except TimeoutError as error:
        raise BodyTooSlow(f"the body did not arrive within {BODY_SECONDS} s") from error
    return body


def check_names(request: Request) -> None:
    """Raises InvalidInput for a parameter that is unknown or stands twice: neither is guessed."""
    names = [name for name, _ in request.query_params.multi_items()]
    wrong = [name for name in names if name not in PARAMETERS or names.count(name) > 1]
    if wrong:
        rule = f"is unknown or stands twice; there are {' and '.join(sorted(PARAMETERS))}"
        name = wrong[0][:LONGEST_NAME]
        raise InvalidInput(
            [Violation(f"/query/{name}", name, None, "unexpected", rule)], len(wrong)
        )


async def parsed(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """A small body at once, a large one in a thread, where its errors may take their time."""
    if len(body) <= INLINE_BYTES:
        return parse(body_type, body)
    return await asyncio.to_thread(parse, body_type, body)


def parse(body_type: TypeAdapter[Any], body: bytes) -> Any:
    """A validated body; raises MalformedBody, or InvalidInput naming every broken rule."""
    try:
        parsed = body_type.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error
    if body.count(b":") > count_keys(parsed):
        json.loads(body, object_pairs_hook=unique)
    return parsed


def count_keys(parsed: Any) -> int:
    """Keys in a validated body: a body with more colons repeats one, or has colons in its text."""
    if isinstance(parsed, dict):
        return len(parsed) + sum(map(count_keys, parsed.values()))
    if isinstance(parsed, list):
        return sum(map(count_keys, parsed))
    return 0


def unique(pairs: list[tuple[str, Any]]) -> None:
    """Two values for one key mean two readings of one request; neither is guessed."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise MalformedBody(f"the key {name[:100]!r} stands twice in one object; send it once")


async def infer(served: ServedModel, rows: Matrix, confidence: float) -> Prediction:
    """On the event loop while it takes microseconds, in a thread when it would hold it up."""
    if len(rows) <= served.inline_rows:
        return served.predict(rows, confidence)
    return await asyncio.to_thread(served.predict, rows, confidence)


def reply(contract: Contract, served: ServedModel, prediction: Prediction) -> Response:
    first = uuid4().hex
    answer = Answer(
        ids=[f"{first}-{row}" for row in range(len(prediction.values))],
        prediction=prediction,
        model_version=served.card.version,
        predicted_at=now(),
    )
    return Response(orjson.dumps(contract.answer(answer)), media_type="application/json")
