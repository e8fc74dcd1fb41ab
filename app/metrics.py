"""What the service counts: `/metrics` for Prometheus, its summary for people."""

import os
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from app.errors import METHODS
from engine.domain.answer import AnsweredRows
from engine.serving.deployment import VariantModel

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

_VERSIONS = "predictive_predictions_total", "model_version"

router = APIRouter(tags=["service"])


class Metrics:
    """One app's own registry; labels are bounded: route templates, never paths or ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        model = ("problem", "model_version")
        count, gauge = self._counter, self._gauge
        self._requests = count("http_requests", "Requests answered.", "method", "route", "status")
        self._seconds = Histogram(
            "predictive_http_request_duration_seconds",
            "Time from the first byte in to the last byte out.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._predictions = count("predictions", "Rows predicted.", *model, "variant")
        self._failures = count("variant_failures", "Rows a variant could not answer.", *model)
        self._skipped = count("shadow_skipped", "Rows a shadow was too slow for.", *model)
        self._records = count("records", "Rows by what became of their record.", "result")
        self._waiting = gauge("records_waiting", "Rows not recorded yet, at the last change.")
        self._outcomes = count("outcomes", "Outcomes, new or unchanged.", "problem", "result")
        self._degraded = count(
            "degraded", "Requests answered without their features.", "problem", "reason"
        )
        self._refused = count("model_refused", "Artifacts that failed a check.", "problem")
        self._loaded = gauge(
            "model_loaded_timestamp_seconds", "When a version was last put in place.", *model
        )

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        key = method if method in METHODS else "OTHER", route, status
        known = self._answered.get(key)
        if known is None:
            known = self._requests.labels(*key), self._seconds.labels(*key[:2])
            self._answered[key] = known
        known[0].inc()
        known[1].observe(seconds)

    def predicted(self, answer: AnsweredRows) -> None:
        """Each part under the version that answered it, or failed to."""
        for part in answer.parts:
            labels = answer.problem, part.version
            if part.error is None:
                self._predictions.labels(*labels, part.variant).inc(len(part.places))
            else:
                self._failures.labels(*labels).inc(len(part.places))

    def skipped(self, problem_name: str, shadow: VariantModel, rows: int) -> None:
        self._skipped.labels(problem_name, str(shadow.version)).inc(rows)

    def degraded(self, problem_name: str, reason: str) -> None:
        self._degraded.labels(problem_name, reason).inc()

    def recorded(self, result: str, *, rows: int, waiting: int) -> None:
        self._records.labels(result).inc(rows)
        self._waiting.set(waiting)

    def labelled(self, problem_name: str, *, new: int, unchanged: int) -> None:
        self._outcomes.labels(problem_name, "new").inc(new)
        self._outcomes.labels(problem_name, "unchanged").inc(unchanged)

    def model_loaded(self, problem_name: str, version: str) -> None:
        self._loaded.labels(problem_name, version).set_to_current_time()

    def model_refused(self, problem_name: str) -> None:
        self._refused.labels(problem_name).inc()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"predictive_{name}_total", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Over several workers a time is the latest one, and every other value is a sum."""
        mode: Any = "max" if name.endswith("_timestamp_seconds") else "livesum"
        return Gauge(
            f"predictive_{name}", meaning, labels, multiprocess_mode=mode, registry=self.registry
        )

    def readable(self) -> CollectorRegistry:
        """This process's registry, or with several workers the sum over all of them."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self.registry
        joined = CollectorRegistry()
        MultiProcessCollector(joined)  # type: ignore[no-untyped-call]
        return joined


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
    problems = _by(samples, "predictive_predictions_total", "problem")
    failed = [s for s in samples if s[1].get("status", "").startswith("5")]
    return {
        "requests": {"total": sum(requests.values()), "by_route": requests},
        "errors": {
            "by_status": _by(samples, "predictive_http_requests_total", "status"),
            "server_errors": sum(value for _, _, value in failed),
        },
        "latency_ms": {route: _latency(samples, route) for route in requests},
        "predictions": {
            "total": sum(_by(samples, "predictive_predictions_total", "problem").values()),
            "by_version": {name: _by(samples, *_VERSIONS, problem=name) for name in problems},
            "by_variant": _by(samples, "predictive_predictions_total", "variant"),
        },
        "degraded": _by(samples, "predictive_degraded_total", "problem"),
        "records": _by(samples, "predictive_records_total", "result"),
        "outcomes": _by(samples, "predictive_outcomes_total", "result"),
    }


_Sample = tuple[str, dict[str, str], float]


def _samples(registry: CollectorRegistry) -> Iterator[_Sample]:
    for family in registry.collect():
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _by(samples: list[_Sample], name: str, label: str, **others: str) -> dict[str, int]:
    """Sums by one label, over samples that have these others."""
    sums: dict[str, int] = {}
    for sample_name, labels, value in samples:
        if sample_name == name and others.items() <= labels.items():
            sums[labels[label]] = sums.get(labels[label], 0) + int(value)
    return sums


def _latency(samples: list[_Sample], route: str) -> dict[str, float | None]:
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
