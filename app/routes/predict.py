"""The prediction routes, made from a problem's contracts."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from secrets import token_hex
from time import perf_counter, time_ns
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter

from app.body import BY_SETTING, check_names, parsed, read
from app.openapi import refusals, request_body
from engine.domain.conformal import DEFAULT_CONFIDENCE, HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE
from engine.domain.prediction import Answer, Instances
from engine.domain.problem import Contract, Problem
from engine.domain.schema import Matrix
from engine.serving.deployment import Answered, Deployment, Part
from engine.serving.live import Live, now
from engine.serving.shadow import Question
from engine.settings import Settings

PARAMETERS = {"confidence", "model_version"}
DEGRADED_NOTE = (
    "the features could not be looked up: this is the answer for a typical row, between bounds "
    "that are wide enough for nearly everyone"
)

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
        min_length=1,
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
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="Who or what is asked for: one unit keeps one variant. Default: the key of "
        "each row, where it has one, else its features. Unit: none.",
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
    """Body to reply: validate, resolve, encode, assign, infer, record, answer."""
    body_type: TypeAdapter[Any] = TypeAdapter(contract.request(settings.max_batch_size))

    async def predict(
        request: Request,
        model_version: PinnedVersion = None,
        confidence: Confidence = DEFAULT_CONFIDENCE,
        unit: UnitId = None,
    ) -> Response:
        start, state = perf_counter(), request.state
        live: Live = state.lives[problem.name]
        deployment = await live.pinned(model_version) if model_version else live.deployment()
        check_names(request, PARAMETERS)
        body = await parsed(body_type, await read(request, settings.max_body_bytes, BY_SETTING))
        at = now()
        instances = await state.resolver.resolve(problem, contract.entities(body), at)
        units = instances.keys if unit is None else [unit] * len(instances.rows)
        matrix = problem.schema.encode(instances.rows)
        answered = Answered(
            problem=problem.name,
            ids=prediction_ids(len(matrix)),
            at=at,
            rows=instances.rows,
            parts=await infer(deployment, matrix, instances, units, confidence),
            confidence=confidence,
            request_id=request.scope["request_id"],
            caller=None if request.client is None else request.client.host,
            units=units,
            notes=notes_on(problem, instances),
        )
        state.metrics.predicted(answered)
        recorded = await state.recorder.keep(answered)
        if not instances.is_degraded:
            state.shadows[problem.name].ask(Question(deployment.shadows, answered, matrix))
        said = answer_of(live, answered, instances, start=start, settings=settings)
        content = orjson.dumps(contract.answer(said, body))
        return Response(content, headers={"X-Recorded": recorded}, media_type="application/json")

    return predict


def answer_of(
    live: Live, answered: Answered, instances: Instances, *, start: float, settings: Settings
) -> Answer:
    versions = answered.versions
    places = {version: live.place(version) for version in set(versions)}
    return Answer(
        ids=list(answered.ids),
        versions=versions,
        prediction=answered.prediction,
        predicted_at=answered.at,
        model_paths=[places[version] for version in versions],
        latency_ms=round(1_000 * (perf_counter() - start), 3),
        is_degraded=instances.is_degraded,
        threshold=settings.default_threshold,
    )


def notes_on(problem: Problem, instances: Instances) -> list[list[str]]:
    """What is to be said of each row before any model is asked."""
    if instances.is_degraded:
        return [[DEGRADED_NOTE] for _ in instances.rows]
    return problem.schema.warnings(instances.rows)


def units_of(deployment: Deployment, rows: Matrix, units: Sequence[str | None]) -> Sequence[bytes]:
    """What is assigned, one item a row: what the caller named, else the features of the row.

    Nothing where everyone gets the champion.
    """
    if not deployment.traffic.serves_variants:
        return []
    features = rows + 0.0  # -0.0 and 0.0 are one value
    return [
        row.tobytes() if unit is None else unit.encode("utf-8", "surrogatepass")
        for unit, row in zip(units, features, strict=True)
    ]


async def infer(
    deployment: Deployment,
    rows: Matrix,
    instances: Instances,
    units: Sequence[str | None],
    confidence: float,
) -> list[Part]:
    """On the event loop while it takes microseconds, in a thread when it would hold it up."""
    if instances.is_degraded:
        ask = partial(deployment.infer_degraded, rows, confidence)
    else:
        ask = partial(deployment.infer, rows, units_of(deployment, rows, units), confidence)
    return ask() if len(rows) <= deployment.inline_rows else await asyncio.to_thread(ask)


def prediction_ids(rows: int) -> list[str]:
    """One a row; they begin with the time, so that a store finds neighbours beside each other."""
    first = f"{time_ns() // 1_000_000:012x}{token_hex(10)}"
    return [f"{first}-{row}" for row in range(rows)]
