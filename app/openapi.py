"""The OpenAPI 3.1 document: what FastAPI derives, with the bodies we validate ourselves."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from app.errors import ProblemDetails

_REF = "#/components/schemas/{model}"
_PROBLEM_SCHEMA = {"$ref": _REF.format(model=ProblemDetails.__name__)}
_MEANING = {
    400: "The body is not JSON, or one key stands twice.",
    406: "The route writes none of the content types that `Accept` names.",
    403: "The admin key is missing, wrong, or not set up.",
    404: "No registered model has this version, or no prediction this id.",
    408: "The body did not arrive in time.",
    409: "Something else was said or done first; nothing was changed by this request.",
    413: "The body is larger than this route reads; `detail` names the limit.",
    415: "The body is not declared as JSON, or as another type that the route reads.",
    422: "A field is missing, unknown, of the wrong type or out of bounds; `errors` lists each.",
    500: "A fault of the service; the request id finds it in the logs.",
    503: "No verified model is loaded yet; `Retry-After` says when to ask again.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, all of them problem documents."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _MEANING[status],
        "instance": "/predict",
        "request_id": "0f8fad5bd9cb469fa16570867728950e",
    }
    content = {"application/problem+json": {"schema": _PROBLEM_SCHEMA, "example": example}}
    return {"description": _MEANING[status], "content": content}


def request_body(bodies: Sequence[TypeAdapter[Any]], examples: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a route that reads its own bytes: one of some types."""
    refs = [reference(body.json_schema()["title"]) for body in bodies]
    schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
    shown = {name: {"summary": name, "value": value} for name, value in examples.items()}
    content = {"schema": schema, "examples": shown}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def reference(name: str) -> dict[str, str]:
    """To a schema of the document."""
    return {"$ref": _REF.format(model=name)}


def describe(app: FastAPI, bodies: Sequence[Any]) -> None:
    """Complete the document with the schemas FastAPI does not see; built once, on first use."""
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = derive()["components"]["schemas"]
            for body in (*bodies, ProblemDetails):
                schemas.update(_components(body))
        return derive()

    app.openapi = openapi  # type: ignore[method-assign]


def _components(body: Any) -> Mapping[str, Any]:
    """A type and the types it refers to, by name."""
    schema = TypeAdapter(body).json_schema(ref_template=_REF)
    return {**schema.pop("$defs", {}), schema["title"]: schema}
