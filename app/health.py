"""Is the process alive, and may it be sent requests?"""

from time import monotonic
from typing import Any

from fastapi import APIRouter, Request

from app.live import Live, now
from app.openapi import refusals

NAME = "Predictive service"
API_VERSION = "1.0.0"

router = APIRouter(tags=["service"])


@router.get("/live", operation_id="live")
async def live(request: Request) -> dict[str, str]:
    """200 while the process lives; a failing answer means: restart me."""
    return {"status": "live"}


@router.get("/ready", operation_id="ready", responses=refusals(503))
async def ready(request: Request) -> dict[str, str]:
    """200 once a verified model has answered its golden rows, 503 with the reason until then."""
    live: Live = request.state.live
    champion = live.champion()
    return {
        "status": "ready",
        "model": live.stores.champion.place,
        "model_version": champion.card.version,
    }


@router.get("/health", operation_id="health")
async def health(request: Request) -> dict[str, Any]:
    """One look at everything; `degraded` while no model is loaded or a newer one was refused."""
    live: Live = request.state.live
    version = live.loaded_version()
    return {
        "status": "degraded" if live.refusal else "healthy",
        "model_loaded": version is not None,
        "model_version": version,
        "reason": live.refusal or None,
        "uptime_seconds": round(monotonic() - live.started, 3),
        "timestamp": now(),
    }


@router.get("/status", operation_id="status")
async def status() -> dict[str, str]:
    """A short sign of life with the time."""
    return {"status": "OK", "timestamp": now()}


@router.get("/", operation_id="root")
async def root() -> dict[str, str]:
    """Where to go from here."""
    return {
        "name": NAME,
        "version": API_VERSION,
        "status": "running",
        "docs": "/docs",
        "health": "/health",
    }
