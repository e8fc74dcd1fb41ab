"""Which model answers, and what is known about it."""

from typing import Any

from fastapi import APIRouter, Request

from app.live import Live
from app.openapi import refusals

router = APIRouter(tags=["model"])


@router.get("/model/info", operation_id="model_info", responses=refusals(500, 503))
@router.get("/model-info", operation_id="model_info_alias", include_in_schema=False)
async def model_info(request: Request) -> dict[str, Any]:
    """The champion's card, when it was loaded, and the versions `?model_version=` can name."""
    live: Live = request.state.live
    served = live.champion()
    card = served.card.model_dump(mode="json", exclude={"version", "profile"})
    return {
        "model_version": served.card.version,
        "model_type": served.card.algorithm,
        "model_path": live.stores.champion.place,
        "loaded_at": served.loaded_at,
        "num_features": len(served.card.features),
        "has_preprocessor": False,
        "highest_confidence": served.calibration.highest_confidence,
        "versions": live.versions(),
        "refused": live.refusal or None,
        **card,
    }
