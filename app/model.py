"""Which model answers, what is known about it, and how another one is put in its place."""

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter

from app.body import check_names, parsed, read
from app.live import Live
from app.openapi import refusals, request_body
from engine.domain import history
from engine.domain.errors import Forbidden
from engine.domain.version import Version

SHOWN_EVENTS = 20
LARGEST_BODY = 1_024

router = APIRouter(tags=["model"])


class LoadRequest(BaseModel):
    """Which version is to be champion."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    model_version: str = Field(
        max_length=50, description="A registered version. Unit: none.", examples=["v1.0.0"]
    )


BODY = TypeAdapter(LoadRequest)


@router.get("/model/info", operation_id="model_info", responses=refusals(500, 503))
@router.get("/model-info", operation_id="model_info_alias", include_in_schema=False)
async def model_info(request: Request) -> dict[str, Any]:
    """The champion's card, since when it is champion, what was before, and every version."""
    live: Live = request.state.live
    served = live.champion()
    past = await asyncio.to_thread(live.stores.champion.history)
    card = served.card.model_dump(mode="json", exclude={"version", "profile"})
    return {
        "model_version": served.card.version,
        "model_type": served.card.algorithm,
        "model_path": live.stores.champion.place,
        "loaded_at": served.loaded_at,
        "champion_since": history.since(past),
        "num_features": len(served.card.features),
        "has_preprocessor": False,
        "highest_confidence": served.calibration.highest_confidence,
        "versions": await asyncio.to_thread(live.versions),
        "history": [shown(event) for event in past[-SHOWN_EVENTS:]],
        "refused": live.refusal or None,
        **card,
    }


@router.post(
    "/model/load",
    operation_id="model_load",
    openapi_extra=request_body([BODY], {"a version": {"model_version": "v1.0.0"}}),
    responses=refusals(400, 403, 404, 408, 409, 413, 415, 422, 500, 503),
)
@router.post("/load-model", include_in_schema=False)
async def load_model(
    request: Request,
    x_api_key: Annotated[str, Header(description="The admin key. Unit: none.")] = "",
) -> dict[str, str]:
    """Make a registered version the champion; every worker follows. Needs `ADMIN_API_KEY`."""
    live: Live = request.state.live
    authorise(x_api_key, live.admin_key)
    check_names(request)
    wanted: LoadRequest = await parsed(BODY, await read(request, LARGEST_BODY))
    version = Version.parse(wanted.model_version)
    await asyncio.to_thread(live.promote, version, f"request {request.scope['request_id']}")
    return {
        "status": "success",
        "message": f"{version} is champion; other workers follow within seconds",
        "model_version": str(version),
        "loaded_at": live.champion().loaded_at,
    }


def authorise(offered: str, key: SecretStr | None) -> None:
    """Raises Forbidden unless a key was set up and this is it."""
    if key is None:
        raise Forbidden("ADMIN_API_KEY is not set, so nobody may change the model over HTTP")
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
