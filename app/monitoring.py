"""What the service counts, and the middleware that counts it; `/metrics` and its summary."""

import os
import re
from collections.abc import Iterator
from time import perf_counter
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.errors import problem

HUNG_UP = 499
"""Never sent, only counted: the caller left before the answer."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
REQUEST_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)

router = APIRouter(tags=["service"])


class Metrics:
    """One app's own registry; labels are bounded: route templates, never paths or ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "predictive_http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "predictive_http_request_duration_seconds",
            "Time from the first byte in to the last byte out.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._predictions = Counter(
            "predictive_predictions_total",
            "Rows predicted.",
            ["problem", "model_version"],
            registry=self.registry,
        )
        self._refused = Counter(
            "predictive_model_refused_total",
            "Artifacts that failed a check and were not served.",
            ["problem"],
            registry=self.registry,
        )
        self._loaded = Gauge(
            "predictive_model_loaded_timestamp_seconds",
            "When a version was last put in place.",
            ["problem", "model_version"],
            multiprocess_mode="max",
            registry=self.registry,
        )

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        method = method if method in METHODS else "OTHER"
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def predicted(self, problem_name: str, version: str, rows: int) -> None:
        self._predictions.labels(problem_name, version).inc(rows)

    def model_loaded(self, problem_name: str, version: str) -> None:
        self._loaded.labels(problem_name, version).set_to_current_time()

    def model_refused(self, problem_name: str) -> None:
        self._refused.labels(problem_name).inc()

    def readable(self) -> CollectorRegistry:
        """This process's registry, or with several workers the sum over all of them."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self.registry
        joined = CollectorRegistry()
        MultiProcessCollector(joined)  # type: ignore[no-untyped-call]
        return joined


class Observe:
    """Pure ASGI: gives every request an id, counts it, turns a crash into a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        scope["request_id"] = request_id(scope)
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
            status = HUNG_UP
        except Exception:
            if status:
                raise
            _log(scope).exception("request_crashed", request_id=scope["request_id"])
            await crash(scope)(scope, receive, stamped)
        finally:
            _count(scope, status, perf_counter() - start)


def request_id(scope: Scope) -> str:
    """The caller's X-Request-ID when it is short and plain, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return uuid4().hex


def crash(scope: Scope) -> Response:
    return problem(scope, 500, "The service failed; the request id finds the cause in its logs.")


def _log(scope: Scope) -> FilteringBoundLogger:
    log: FilteringBoundLogger = scope["state"]["log"]
    return log


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    metrics: Metrics = scope["state"]["metrics"]
    metrics.answered(scope["method"], route, status=status, seconds=seconds)
    level = "debug" if status < 400 else "info" if status < 500 else "error"
    getattr(_log(scope), level)(
        "request",
        method=scope["method"],
        route=route,
        status=status,
        duration_ms=round(1_000 * seconds, 3),
        request_id=scope["request_id"],
    )


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text exposition."""
    content = generate_latest(request.state.metrics.readable())
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@router.get("/metrics/summary", operation_id="metrics_summary")
async def summary(request: Request) -> dict[str, Any]:
    """The same figures for people: requests, errors, latency and predictions since the start."""
    samples = list(_samples(request.state.metrics.readable()))
    requests = _by(samples, "predictive_http_requests_total", "route")
    failed = [s for s in samples if s[1].get("status", "").startswith("5")]
    return {
        "requests": {"total": sum(requests.values()), "by_route": requests},
        "errors": {
            "by_status": _by(samples, "predictive_http_requests_total", "status"),
            "server_errors": sum(value for _, _, value in failed),
        },
        "latency_ms": {route: _latency(samples, route) for route in requests},
        "predictions": {
            "total": sum(_by(samples, "predictive_predictions_total", "model_version").values()),
            "by_version": _by(samples, "predictive_predictions_total", "model_version"),
        },
    }


Sample = tuple[str, dict[str, str], float]


def _samples(registry: CollectorRegistry) -> Iterator[Sample]:
    for family in registry.collect():
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _by(samples: list[Sample], name: str, label: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for sample_name, labels, value in samples:
        if sample_name == name:
            sums[labels[label]] = sums.get(labels[label], 0) + int(value)
    return sums


def _latency(samples: list[Sample], route: str) -> dict[str, float | None]:
    """Mean and quantiles of one route, the latter as upper borders of histogram buckets."""
    name = "predictive_http_request_duration_seconds"
    buckets: dict[float, float] = {}
    total = count = 0.0
    for sample_name, labels, value in samples:
        if labels.get("route") != route:
            continue
        if sample_name == f"{name}_bucket":
            border = float(labels["le"])
            buckets[border] = buckets.get(border, 0) + value
        elif sample_name == f"{name}_sum":
            total += value
        elif sample_name == f"{name}_count":
            count += value
    return {
        "mean": round(1_000 * total / count, 3) if count else None,
        **{f"p{q}_at_most": _quantile(buckets, count, q / 100) for q in (50, 95, 99)},
    }


def _quantile(buckets: dict[float, float], count: float, share: float) -> float | None:
    for border in sorted(buckets):
        if buckets[border] >= share * count:
            return None if border == float("inf") else 1_000 * border
    return None
