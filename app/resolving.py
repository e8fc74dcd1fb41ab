"""Features that are looked up by key: the store behind it, its counter and its log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from structlog.typing import FilteringBoundLogger

from app.metrics import Metrics
from engine.domain.prediction import Entity, Instances
from engine.domain.problem import Problem
from engine.settings import Settings


class PassThrough:
    async def resolve(self, problem: Problem, entities: Sequence[Entity], at: str) -> Instances:
        return Instances([e.row or {} for e in entities], [e.key for e in entities])


@contextmanager
def resolving(
    settings: Settings, problems: Sequence[Problem], metrics: Metrics, log: FilteringBoundLogger
) -> Iterator[Any]:
    yield PassThrough()
