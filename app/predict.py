"""The prediction routes, made from a problem's contracts."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from secrets import token_hex
from time import time_ns
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter

from app.body import check_names, parsed, read
from app.live import Live, now
from app.openapi import refusals, request_body
from engine.domain.conformal import DEFAULT_CONFIDENCE, HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE
from engine.domain.prediction import Answer
from engine.domain.problem import Contract, Problem
from engine.domain.schema import Matrix
from engine.serving.deployment import Answered, Deployment, Part
from engine.serving.shadow import Question
from engine.settings import Settings

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
UnitId = Annotated[
    str | None,
    Header(
        alias="X-Unit-ID",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="Who or what is asked for: one unit keeps one variant. Default: the features "
        "of each row. Unit: none.",
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
            openapi_extra=request_body(
                [TypeAdapter(contract.request(settings.max_batch_size))],
                contract.examples,
            ),
            responses=refusals(400, 404, 408, 413, 415, 422, 500, 503),
        )
    return routes


def endpoint(problem: Problem, contract: Contract, settings: Settings) -> Endpoint:
    """Body to reply: validate, encode, assign, infer, record, answer."""
    body_type: TypeAdapter[Any] = TypeAdapter(contract.request(settings.max_batch_size))

    async def predict(
        request: Request,
        model_version: PinnedVersion = None,
        confidence: Confidence = DEFAULT_CONFIDENCE,
        unit: UnitId = None,
    ) -> Response:
        live: Live = request.state.live
        deployment = await live.pinned(model_version) if model_version else live.deployment()
        check_names(request, PARAMETERS)
        body = await parsed(body_type, await read(request, settings.max_body_bytes))
        rows = [entity.row or {} for entity in contract.entities(body)]
        matrix = problem.schema.encode(rows)
        units = units_of(deployment, matrix, unit)
        parts = await infer(deployment, matrix, units, confidence)
        answered = Answered(
            problem=problem.name,
            ids=prediction_ids(len(rows)),
            at=now(),
            rows=rows,
            parts=parts,
            confidence=confidence,
            request_id=request.scope["request_id"],
            caller=None if request.client is None else request.client.host,
            unit=unit,
        )
        request.state.metrics.predicted(answered)
        recorded = await request.state.recorder.keep(answered)
        request.state.shadows.ask(Question(deployment.shadows, answered, matrix))
        return reply(contract, body, answered, recorded)

    return predict


def units_of(deployment: Deployment, rows: Matrix, unit: str | None) -> list[bytes]:
    """What is assigned, one item a row: what the caller named, else the features of the row.

    Nothing where everyone gets the champion.
    """
    if not deployment.traffic.serves_variants:
        return []
    if unit is not None:
        return [unit.encode()] * len(rows)
    return [row.tobytes() for row in rows + 0.0]  # -0.0 and 0.0 are one value


async def infer(
    deployment: Deployment, rows: Matrix, units: Sequence[bytes], confidence: float
) -> list[Part]:
    """On the event loop while it takes microseconds, in a thread when it would hold it up."""
    if len(rows) <= deployment.inline_rows:
        return deployment.infer(rows, units, confidence)
    return await asyncio.to_thread(deployment.infer, rows, units, confidence)


def prediction_ids(rows: int) -> list[str]:
    """One a row; they begin with the time, so that a store finds neighbours beside each other."""
    first = f"{time_ns() // 1_000_000:012x}{token_hex(10)}"
    return [f"{first}-{row}" for row in range(rows)]


def reply(contract: Contract, body: Any, answered: Answered, recorded: str) -> Response:
    answer = Answer(
        ids=list(answered.ids),
        versions=answered.versions,
        prediction=answered.prediction,
        predicted_at=answered.at,
        model_path="",
        latency_ms=0.0,
        is_degraded=False,
    )
    content = orjson.dumps(contract.answer(answer, body))
    return Response(content, headers={"X-Recorded": recorded}, media_type="application/json")
