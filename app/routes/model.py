"""Which model answers, what is known about it, and how another one is put in its place."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
import secrets
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    TypeAdapter,
    model_validator,
)
from pydantic.config import JsonDict

from app.body import read
from app.openapi import refusals, request_body
from app.parameters import check_names
from engine.domain import history
from engine.domain.errors import Forbidden
from engine.domain.problem import Problem
from engine.domain.version import Version
from engine.serving.live import Live
from engine.serving.validation import validated

_SHOWN_EVENTS = 20
_LARGEST_BODY = 2_048


def _only(name: str, other: str) -> JsonDict:
    """In a document: a text under one name, and nothing under the other."""
    return {"required": [name], "properties": {name: {"type": "string"}, other: {"type": "null"}}}


_NAMES_ONE: list[JsonValue] = [
    _only("model_version", "model_path"),
    _only("model_path", "model_version"),
]


class LoadRequest(BaseModel):
    """Which version is to be champion: its number, or the path that model info tells."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        protected_namespaces=(),
        json_schema_extra={"oneOf": _NAMES_ONE},
    )

    model_version: str | None = Field(
        None, max_length=50, description="A registered version. Unit: none.", examples=["v1.0.0"]
    )
    model_path: str | None = Field(
        None,
        max_length=1_000,
        description="Where a registered version is kept; no other file is looked at. Unit: none.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.model_version is None) == (self.model_path is None):
            raise ValueError("send either model_version or model_path, not both")
        return self


_BODY = TypeAdapter(LoadRequest)
_EXAMPLE = {"model_version": "v1.0.0"}


def router(problem: Problem, *, prefix: str) -> APIRouter:
    routes = APIRouter(prefix=prefix, tags=[problem.name])
    name = f"{prefix}/model".strip("/").replace("/", "_")

    @routes.get("/model/info", operation_id=f"{name}_info", responses=refusals(500, 503))
    @routes.get("/model-info", operation_id=f"{name}_info_alias", include_in_schema=False)
    async def model_info(request: Request) -> dict[str, Any]:
        """The champion's card, since when it is champion, what was before, and every version."""
        return await asyncio.to_thread(_described, request.state.lives[problem.name])

    @routes.post(
        "/model/load",
        operation_id=f"{name}_load",
        openapi_extra=request_body([_BODY], {"a version": _EXAMPLE}),
        responses=refusals(400, 403, 404, 408, 409, 413, 415, 422, 500, 503),
    )
    @routes.post("/load-model", include_in_schema=False)
    async def load_model(
        request: Request,
        x_api_key: Annotated[str, Header(description="The admin key. Unit: none.")] = "",
    ) -> dict[str, str]:
        """Make a registered version the champion; every worker follows. Needs `ADMIN_API_KEY`."""
        live: Live = request.state.lives[problem.name]
        authorise(x_api_key, request.state.admin_key)
        check_names(request)
        wanted: LoadRequest = await validated(_BODY, await read(request, _LARGEST_BODY))
        why = f"request {request.scope['request_id']}"
        version = await asyncio.to_thread(_promote_version, live, wanted, why)
        return {
            "status": "success",
            "message": f"{version} is champion; other workers follow within seconds",
            "model_version": str(version),
            "loaded_at": live.champion().loaded_at,
        }

    return routes


def _described(live: Live) -> dict[str, Any]:
    served = live.champion()
    past = live.registered.history()
    card = served.card.model_dump(mode="json", exclude={"version", "profile"})
    return {
        "model_version": served.card.version,
        "model_type": served.card.algorithm,
        "model_path": live.registered.place,
        "loaded_at": served.loaded_at,
        "champion_since": history.since(past),
        "num_features": len(served.card.features),
        "has_preprocessor": any(feature.categories for feature in served.card.features),
        "highest_confidence": served.highest_confidence,
        "versions": live.versions(),
        "history": [shown(event) for event in past[-_SHOWN_EVENTS:]],
        "refused": live.refusal or None,
        **card,
    }


def _promote_version(live: Live, wanted: LoadRequest, why: str) -> Version:
    """The version that is champion now."""
    if wanted.model_path is None:
        version = Version.parse(str(wanted.model_version))
    else:
        version = live.at_place(wanted.model_path)
    live.promote(version, why)
    return version


def authorise(offered: str, key: SecretStr | None) -> None:
    """Raises Forbidden unless a key is set on the server and this key equals it."""
    if key is None:
        raise Forbidden(
            "ADMIN_API_KEY is not set on the server, so no model can be changed over HTTP"
        )
    if not secrets.compare_digest(offered.encode(), key.get_secret_value().encode()):
        raise Forbidden("send the admin key in the header X-API-Key")


def shown(event: history.Event) -> dict[str, Any]:
    return {
        "at": event.at,
        "action": event.action,
        "model_version": str(event.version),
        "challenger": None if event.challenger is None else str(event.challenger),
        "who": event.who,
        "why": event.why,
        "variants": {str(v.version): f"{v.mode} {v.share:g}" for v in event.traffic.variants},
    }
