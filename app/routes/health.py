"""Is the process alive, and may it be sent requests?"""

from time import monotonic
from typing import Any

from fastapi import APIRouter, Request

from app.openapi import refusals
from engine import __version__
from engine.domain.errors import ModelNotReady
from engine.serving.live import Live, now
from engine.serving.recorder import Recorder

NAME = "Predictive service"

router = APIRouter(tags=["service"])


@router.get("/live", operation_id="live")
async def live(request: Request) -> dict[str, str]:
    """200 while the process lives; a failing answer means: restart me."""
    return {"status": "live"}


@router.get("/ready", operation_id="ready", responses=refusals(503))
async def ready(request: Request) -> dict[str, Any]:
    """200 once a verified model of every served problem has answered its golden rows, 503 with the
    reason until then.

    Predictions go on while records cannot be written; `records` says so.
    """
    first, *_ = lives = _served(request)
    for live in lives:
        live.champion()
    return {
        "status": "ready",
        "model": first.registered.place,
        "model_version": first.loaded_version(),
        "problems": {live.problem.name: live.loaded_version() for live in lives},
        "records": _recording_state(request.state.recorder),
    }


def _served(request: Request) -> list[Live]:
    """One a problem; the first of them answers at the root."""
    return list(request.state.lives.values())


def _recording_state(recorder: Recorder) -> dict[str, Any]:
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
    """One look at everything; `degraded` while a problem has no model, a newer one was refused, the
    champion's intervals do not hold, records cannot be written, or features cannot be looked up.
    Model and version are those of the problem at the root."""
    try:
        return _looked_at(request)
    except ModelNotReady as error:
        return {**_NOTHING_KNOWN, "reason": str(error), "timestamp": now()}


_NOTHING_KNOWN = {
    "status": "degraded",
    "model_loaded": False,
    "model_version": None,
    "model": None,
    "problems": {},
    "records": None,
    "uptime_seconds": 0.0,
}
"""The status of an application that has not been started."""


def _looked_at(request: Request) -> dict[str, Any]:
    """Raises ModelNotReady where the application has not been started."""
    first, *_ = lives = _served(request)
    recorder: Recorder = request.state.recorder
    unserved = "; ".join(live.refusal for live in lives if live.refusal)
    doubts = "; ".join(live.doubt for live in lives if live.doubt)
    refusal = unserved or recorder.refusal or request.state.resolver.refusal or doubts
    return {
        "status": "degraded" if refusal else "healthy",
        "model_loaded": first.loaded_version() is not None,
        "model_version": first.loaded_version(),
        "model": first.registered.place,
        "problems": {live.problem.name: live.loaded_version() for live in lives},
        "reason": refusal or None,
        "records": _recording_state(recorder),
        "uptime_seconds": round(monotonic() - first.started, 3),
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
        "version": __version__,
        "status": "running",
        "docs": "/docs",
        "health": "/health",
    }
