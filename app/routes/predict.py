"""The prediction routes, made from a problem's contracts."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter
from starlette.types import ASGIApp, Receive, Scope, Send

from app.body import BY_SETTING, read
from app.errors import refusal
from app.formats import Formats
from app.monitoring import Observe
from app.openapi import refusals, request_body
from app.parameters import check_prediction_names, described_parameters, read_parameters
from app.tables import table_bodies, table_replies
from engine.domain.errors import ServiceError
from engine.domain.problem import Contract, Problem
from engine.serving.data_path import DataPath, PredictionRequest
from engine.settings import Settings

Endpoint = Callable[[Request], Awaitable[Response]]


def endpoints(problem: Problem, *, prefix: str, settings: Settings) -> dict[str, Endpoint]:
    """Of each prediction route of a problem, by its path below `prefix`."""
    return {
        f"{prefix}{contract.path}": _endpoint(problem, contract, settings)
        for contract in problem.contracts
    }


def router(
    problem: Problem, answering: Mapping[str, Endpoint], *, prefix: str, settings: Settings
) -> APIRouter:
    """The same routes, as OpenAPI shows them."""
    routes = APIRouter(tags=[problem.name])
    for contract in problem.contracts:
        path = f"{prefix}{contract.path}"
        body = TypeAdapter(contract.request(settings.max_batch_size))
        described = request_body([body], contract.examples)
        responses = refusals(400, 404, 408, 413, 415, 422, 500, 503)
        if contract.table is not None:
            described["requestBody"]["content"] |= table_bodies(problem, contract.table)
            responses |= refusals(406) | {200: {"content": table_replies()}}
        routes.add_api_route(
            path,
            answering[path],
            methods=["POST"],
            summary=contract.summary,
            operation_id=path.strip("/").replace("/", "_"),
            response_model=contract.reply,
            openapi_extra={"parameters": described_parameters(), **described},
            responses=responses,
        )
    return routes


def _endpoint(problem: Problem, contract: Contract, settings: Settings) -> Endpoint:
    """Reads the request and writes the reply; what lies between is the data path."""
    body_type: TypeAdapter[Any] = TypeAdapter(contract.request(settings.max_batch_size))

    formats = Formats(problem, contract, settings)

    async def predict(request: Request) -> Response:
        parameters = read_parameters(request)
        reader, media_type = formats.choose(request)
        asked = PredictionRequest(
            partial(_read, request, settings.max_body_bytes, formats.bodies),
            confidence=parameters.confidence,
            model_version=parameters.model_version,
            unit=parameters.unit,
            request_id=request.scope["request_id"],
            caller=None if request.client is None else request.client.host,
            reader=reader,
        )
        path: DataPath = request.scope["state"]["paths"][problem.name]
        reply = await path.predict(contract, body_type, asked)
        headers = {"X-Recorded": reply.recorded}
        return Response(reply.content, headers=headers, media_type=media_type)

    return predict


async def _read(request: Request, limit: int, or_types: Collection[str]) -> bytes:
    check_prediction_names(request)
    return await read(request, limit, BY_SETTING, or_types=or_types)


class AnswerFirst:
    """Answers predictions before `app` has looked at the request: FastAPI's layers, and to find a
    route among many, take as long as the prediction.

    The router has the same endpoints, for whatever comes another way: below a mounted path, or from
    a page of another origin.
    """

    def __init__(
        self, app: ASGIApp, answering: Mapping[str, Endpoint], *, logs_requests: bool
    ) -> None:
        self.app = app
        self._routes = {path: _Route(path, endpoint) for path, endpoint in answering.items()}
        self._observed = Observe(_answer, logs_requests=logs_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST" or _has_origin(scope):
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        await self._observed(scope, receive, send)


def _has_origin(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        response = await scope["route"].endpoint(Request(scope, receive))
    except ServiceError as error:
        response = refusal(scope, error)
    await response(scope, receive, send)


class _Route:
    """What is counted under the path of a declared route."""

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        self.path = path
        self.endpoint = endpoint
