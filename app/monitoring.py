"""The middleware around every request: an id, a count, a log line, no crash without an answer."""

import logging
import re
from time import perf_counter
from typing import Any

from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.errors import problem
from app.metrics import Metrics
from engine.domain.errors import ModelNotReady
from engine.domain.ids import RandomNames

_HUNG_UP = 499
"""Never sent, only counted: the caller left before the answer."""
_UNMATCHED = "unmatched"
_ID_BYTES = 16
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}
_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)
_NOT_STARTED = (
    "the application has not been started: its lifespan has not run, so no model is loaded; in a "
    "test, start it by `with TestClient(app) as client`"
)


class _NotStarted(dict[str, Any]):
    """The state that routes share, before the lifespan has run: it is empty, and its error says
    why."""

    def __missing__(self, name: str) -> Any:
        raise ModelNotReady(_NOT_STARTED)


class Observe:
    """Pure ASGI: gives every request an id, counts it, turns a crash into a problem document."""

    def __init__(self, app: ASGIApp, *, logs_requests: bool) -> None:
        self.app = app
        self._names = RandomNames()
        self.level = "info" if logs_requests else "debug"
        """The level of the log line about a request that was answered as it should be."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        scope["request_id"] = _given_id(scope) or self._names.take(_ID_BYTES)
        is_started = "metrics" in scope.get("state", {})
        if not is_started:
            scope["state"] = _NotStarted(scope.get("state", {}))
        status = 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", scope["request_id"].encode()))
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        except ClientDisconnect:
            status = _HUNG_UP
        except Exception:
            if status or not is_started:
                raise
            _log(scope).exception("request_crashed", request_id=scope["request_id"])
            await _crash(scope)(scope, receive, stamped)
        finally:
            if is_started:
                _count(scope, status, perf_counter() - start, level=self.level)


def _given_id(scope: Scope) -> str:
    """The caller's X-Request-ID when it is short and plain."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return ""


def _crash(scope: Scope) -> Response:
    return problem(
        scope, 500, "The service failed; search its logs for the request id to find the cause."
    )


def _template_of(scope: Scope) -> str:
    """The route as it is declared, never the path that was asked. FastAPI names its own routes;
    those of Starlette (/openapi.json, the files of /docs) are found by what answered."""
    if "route" in scope:
        return str(scope["route"].path)
    answered_by = scope.get("endpoint", _UNMATCHED)
    for route in scope["app"].routes:
        if answered_by in (getattr(route, "endpoint", None), getattr(route, "app", None)):
            return str(route.path)
    return _UNMATCHED


def _log(scope: Scope) -> FilteringBoundLogger:
    log: FilteringBoundLogger = scope["state"]["log"]
    return log


def _count(scope: Scope, status: int, seconds: float, *, level: str) -> None:
    route, log = _template_of(scope), _log(scope)
    metrics: Metrics = scope["state"]["metrics"]
    metrics.answered(scope["method"], route, status=status, seconds=seconds)
    level = level if status < 400 else "info" if status < 500 else "error"
    if not log.is_enabled_for(_LEVELS[level]):
        return
    getattr(log, level)(
        "request",
        method=scope["method"],
        route=route,
        status=status,
        duration_ms=round(1_000 * seconds, 3),
        request_id=scope["request_id"],
    )
