"""Every refusal as RFC 9457 `application/problem+json`; the one place that knows status codes."""

from http import HTTPStatus
from typing import Annotated, Any, NotRequired

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope
from typing_extensions import TypedDict

from engine.domain import errors
from engine.domain.errors import InvalidInput, MalformedBody, ServiceError
from engine.serving.validation import violation

STATUS: dict[type[ServiceError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MalformedBody: HTTPStatus.BAD_REQUEST,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    errors.UnsupportedConfidence: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnknownVersion: HTTPStatus.NOT_FOUND,
    errors.InvalidTraffic: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnknownEntity: HTTPStatus.NOT_FOUND,
    errors.FeaturesUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnknownPrediction: HTTPStatus.NOT_FOUND,
    errors.OutcomeConflict: HTTPStatus.CONFLICT,
    errors.RecordsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UntrustedArtifact: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.VersionExists: HTTPStatus.CONFLICT,
    errors.Outpaced: HTTPStatus.CONFLICT,
    errors.RegistryUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NothingToJudge: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ContractChanged: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.UnusableTable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidSetting: HTTPStatus.INTERNAL_SERVER_ERROR,
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_RETRY_SECONDS = 2


class RuleBroken(TypedDict):
    """One broken rule of the request."""

    pointer: Annotated[str, Field(description="JSON Pointer to the value. Unit: none.")]
    field: Annotated[str, Field(description="Name of the field. Unit: none.")]
    row: Annotated[int | None, Field(description="Row in a batch, from 0. Unit: index.")]
    rule: Annotated[str, Field(description="Name of the rule. Unit: none.")]
    message: Annotated[str, Field(description="The rule in words. Unit: none.")]


class ProblemDetails(TypedDict):
    """RFC 9457 problem details; `detail` is always a readable sentence."""

    type: Annotated[str, Field(description="Kind of the problem. Unit: none.")]
    title: Annotated[str, Field(description="The status in words. Unit: none.")]
    status: Annotated[int, Field(description="The HTTP status. Unit: none.")]
    detail: Annotated[str, Field(description="What is wrong and the way out. Unit: none.")]
    instance: Annotated[str, Field(description="The path that was asked. Unit: none.")]
    request_id: Annotated[str, Field(description="Names the request in the logs. Unit: none.")]
    errors: NotRequired[list[RuleBroken]]


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _query_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101
    return refusal(request.scope, error)


def refusal(scope: Scope, error: ServiceError) -> Response:
    """What a caller is told of an error of the domain."""
    status = STATUS[type(error)]
    extra: dict[str, Any] = {}
    if isinstance(error, InvalidInput):
        extra["errors"] = [vars(violation) for violation in error.violations]
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else {}
    return problem(scope, status, str(error), headers=headers, **extra)


async def _query_error(request: Request, error: Exception) -> Response:
    """A wrong query parameter, or a body that FastAPI read; predictions read their own."""
    found = error.errors()  # type: ignore[attr-defined]
    if found[0]["type"] == "json_invalid":
        return refusal(request.scope, MalformedBody("the body is not JSON"))
    return refusal(request.scope, InvalidInput([violation(one) for one in found], len(found)))


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    detail = _ADVICE.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods_at(request)):
        headers["Allow"] = ", ".join(methods)
    return problem(request.scope, error.status_code, detail, headers=headers)


def _methods_at(request: Request) -> list[str]:
    """All methods of all routes with this path: Starlette lists only those of the first route. A
    folder of files is left out: it answers with its own methods."""
    root = request.scope.get("root_path", "")
    asked = {"type": "http", "path": request.scope["path"], "root_path": root}
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in routes)
    ]


_ADVICE = {
    404: "No route has this path; GET /docs lists the routes.",
    405: "This path does not support this method; the Allow header lists those it supports.",
}


def problem(
    scope: Any, status: int, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> Response:
    """A problem document; text that is not valid Unicode is replaced, so this cannot fail."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": _printable(detail),
        "instance": _printable(scope["path"]),
        "request_id": scope.get("request_id", ""),
        **extra,
    }
    content = orjson.dumps(document)
    return Response(content, status, headers, media_type="application/problem+json")


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
