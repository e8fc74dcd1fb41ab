"""Is the process alive, and may it be sent requests?"""

from time import monotonic
from typing import Any

from fastapi import APIRouter, Request

from app.live import Live, now
from app.openapi import refusals
from engine.serving.recorder import Recorder

NAME = "Predictive service"
API_VERSION = "1.0.0"

router = APIRouter(tags=["service"])


@router.get("/live", operation_id="live")
async def live(request: Request) -> dict[str, str]:
    """200 while the process lives; a failing answer means: restart me."""
    return {"status": "live"}


@router.get("/ready", operation_id="ready", responses=refusals(503))
async def ready(request: Request) -> dict[str, Any]:
    """200 once a verified model has answered its golden rows, 503 with the reason until then.

    Predictions go on while records cannot be written; `records` says so.
    """
    live: Live = request.state.live
    champion = live.champion()
    return {
        "status": "ready",
        "model": live.stores.champion.place,
        "model_version": champion.card.version,
        "records": recording_state(request.state.recorder),
    }


def recording_state(recorder: Recorder) -> dict[str, Any]:
    """Of this process: whether records are written, how many rows wait, how many are lost."""
    return {
        "mode": recorder.mode,
        "status": "failing" if recorder.refusal else "ok",
        "reason": recorder.refusal or None,
        "waiting": recorder.waiting,
        "dropped": recorder.dropped,
    }


@router.get("/health", operation_id="health")
async def health(request: Request) -> dict[str, Any]:
    """One look at everything; `degraded` while no model is loaded, a newer one was refused, or
    records cannot be written."""
    live: Live = request.state.live
    recorder: Recorder = request.state.recorder
    version = live.loaded_version()
    return {
        "status": "degraded" if live.refusal or recorder.refusal else "healthy",
        "model_loaded": version is not None,
        "model_version": version,
        "reason": live.refusal or recorder.refusal or None,
        "records": recording_state(recorder),
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
