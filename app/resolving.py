"""Features that are looked up by key: the store behind it, with its counter and its log."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from structlog.typing import FilteringBoundLogger

from app.metrics import Metrics
from engine.assemble import open_features
from engine.serving.lookup import Resolver
from engine.settings import Settings

_QUIET_SECONDS = 10
"""Between two log lines about degraded answers; the counter misses none."""


@contextmanager
def resolving(
    settings: Settings, metrics: Metrics, log: FilteringBoundLogger
) -> Iterator[Resolver]:
    """A resolver that counts and logs every request it could not look up."""
    told = float(-_QUIET_SECONDS)

    def tell(problem_name: str, kind: str, reason: str) -> None:
        nonlocal told
        metrics.degraded(problem_name, kind)
        if monotonic() >= told + _QUIET_SECONDS:
            told = monotonic()
            log.error("degraded", problem=problem_name, kind=kind, reason=reason)

    features = open_features(settings)
    budget_seconds = settings.features_budget_ms / 1_000
    resolver = Resolver(features, budget_seconds=budget_seconds, tell=tell)
    try:
        yield resolver
    finally:
        resolver.close()
        features.close()
