"""Features that are looked up by key: the store behind it, with its counter and its log."""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from app.logs import Seldom
from app.metrics import Metrics
from engine.assemble import open_features
from engine.serving.lookup import Resolver
from engine.settings import Settings


@contextmanager
def resolving(
    settings: Settings, metrics: Metrics, log: FilteringBoundLogger
) -> Iterator[Resolver]:
    """A resolver that counts and logs every request it could not look up."""
    seldom = Seldom()

    def tell(problem_name: str, kind: str, reason: str) -> None:
        metrics.degraded(problem_name, kind)
        if seldom.is_due():
            log.error("degraded", problem=problem_name, kind=kind, reason=reason)

    features = open_features(settings)
    budget_seconds = settings.features_budget_ms / 1_000
    resolver = Resolver(features, budget_seconds=budget_seconds, tell=tell)
    try:
        yield resolver
    finally:
        resolver.close()
        features.close()
