"""The prediction routes, made from a problem's contracts."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter

from app.body import read_only
from app.openapi import refusals, request_body
from engine.domain.conformal import DEFAULT_CONFIDENCE, HIGHEST_CONFIDENCE, LOWEST_CONFIDENCE
from engine.domain.problem import Contract, Problem
from engine.serving.data_path import DataPath, PredictionRequest
from engine.settings import Settings

_PARAMETERS = {"confidence", "model_version"}

_Confidence = Annotated[
    float,
    Query(
        ge=LOWEST_CONFIDENCE,
        le=HIGHEST_CONFIDENCE,
        description="How often the interval should hold the truth. Unit: share.",
    ),
]
_PinnedVersion = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=50,
        description="A registered version to ask instead of the champion. Unit: none.",
        examples=["v1.0.0"],
    ),
]
_UnitId = Annotated[
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
_Endpoint = Callable[..., Coroutine[Any, Any, Response]]


def router(problem: Problem, *, prefix: str, settings: Settings) -> APIRouter:
    """All prediction routes of a problem, below `prefix`."""
    routes = APIRouter(prefix=prefix, tags=[problem.name])
    for contract in problem.contracts:
        routes.add_api_route(
            contract.path,
            _endpoint(problem, contract, settings),
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


def _endpoint(problem: Problem, contract: Contract, settings: Settings) -> _Endpoint:
    """Reads the request and writes the reply; what lies between is the data path."""
    body_type: TypeAdapter[Any] = TypeAdapter(contract.request(settings.max_batch_size))

    async def predict(
        request: Request,
        model_version: _PinnedVersion = None,
        confidence: _Confidence = DEFAULT_CONFIDENCE,
        *,
        unit: _UnitId = None,
    ) -> Response:
        asked = PredictionRequest(
            partial(read_only, request, _PARAMETERS, settings.max_body_bytes),
            confidence=confidence,
            model_version=model_version,
            unit=unit,
            request_id=request.scope["request_id"],
            caller=None if request.client is None else request.client.host,
        )
        path: DataPath = request.state.paths[problem.name]
        reply = await path.predict(contract, body_type, asked)
        headers = {"X-Recorded": reply.recorded}
        return Response(reply.content, headers=headers, media_type="application/json")

    return predict
