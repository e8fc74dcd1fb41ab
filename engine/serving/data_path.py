"""The data path: from a body's bytes to a reply's bytes, whichever way a request came in.

Validate, resolve, encode, assign, infer, record, answer. One prediction is a batch of one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from time import perf_counter, time_ns
from typing import Any

import orjson
from pydantic import TypeAdapter

from engine.domain.answer import Answer, AnswerPart
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.prediction import Instances
from engine.domain.problem import Contract
from engine.domain.schema import Matrix
from engine.domain.times import written
from engine.serving.deployment import Deployment
from engine.serving.live import Live
from engine.serving.lookup import Resolver
from engine.serving.recorder import Recorder
from engine.serving.shadow import ShadowRequest, Shadows
from engine.serving.validation import validated

_DEGRADED_NOTE = (
    "the features could not be looked up: this is the answer for a typical row, between bounds "
    "that are wide enough for nearly everyone"
)


@dataclass(frozen=True)
class PredictionRequest:
    """What is asked, by whom. `body` gives the bytes, once there is a model to answer them; `unit`
    is who or what is asked for, by default the key of each row, or else its features."""

    body: Callable[[], Awaitable[bytes]]
    confidence: float = DEFAULT_CONFIDENCE
    model_version: str | None = None
    unit: str | None = None
    request_id: str = ""
    caller: str | None = None


@dataclass(frozen=True)
class Reply:
    """JSON, and what became of the record: committed, queued, dropped or off."""

    content: bytes
    recorded: str


@dataclass(frozen=True)
class DataPath:
    """What the requests of one problem go through; `told` is told of every answer."""

    live: Live
    resolver: Resolver
    recorder: Recorder
    shadows: Shadows
    told: Callable[[Answer], None]
    threshold: float

    async def predict(
        self, contract: Contract, body_type: TypeAdapter[Any], request: PredictionRequest
    ) -> Reply:
        """Raises the errors of the domain that say what is wrong with the request, or that nobody
        can answer it now."""
        start, live, problem = perf_counter(), self.live, self.live.problem
        pinned = request.model_version
        deployment = await live.pinned(pinned) if pinned else live.deployment()
        body = await validated(body_type, await request.body())
        at = written(datetime.now(UTC))
        instances = await self.resolver.resolve(problem, contract.entities(body), at)
        units = [request.unit] * len(instances.rows) if request.unit else instances.keys
        matrix = problem.schema.encode(instances.rows)
        notes = problem.schema.warnings(instances.rows)
        if instances.is_degraded:
            notes = [[_DEGRADED_NOTE] for _ in notes]
        answer = Answer(
            problem=problem.name,
            id=_new_id(),
            predicted_at=at,
            rows=instances.rows,
            units=units,
            notes=notes,
            parts=await _infer(deployment, instances, matrix, units=units, request=request),
            confidence=request.confidence,
            request_id=request.request_id,
            caller=request.caller,
            place_of=live.place,
            elapsed_ms=lambda: round(1_000 * (perf_counter() - start), 3),
            is_degraded=instances.is_degraded,
            threshold=self.threshold,
        )
        self.told(answer)
        recorded = await self.recorder.keep(answer)
        if (deployment.shadows or self.shadows.running) and not instances.is_degraded:
            self.shadows.ask(ShadowRequest(deployment.shadows, answer, matrix))
        return Reply(orjson.dumps(contract.answer(answer, body)), recorded)


def _units_of(deployment: Deployment, rows: Matrix, units: Sequence[str | None]) -> Sequence[bytes]:
    """What is assigned, one item a row: what the caller named, else the features of the row.

    Nothing where everyone gets the champion.
    """
    if not deployment.serves_variants:
        return []
    features = rows + 0.0  # -0.0 and 0.0 are one value
    return [
        row.tobytes() if unit is None else unit.encode("utf-8", "surrogatepass")
        for unit, row in zip(units, features, strict=True)
    ]


async def _infer(
    deployment: Deployment,
    instances: Instances,
    rows: Matrix,
    *,
    units: Sequence[str | None],
    request: PredictionRequest,
) -> list[AnswerPart]:
    """Runs on the event loop while it takes microseconds, and in a thread when it would block the
    loop."""
    if instances.is_degraded:
        ask = partial(deployment.infer_degraded, rows, request.confidence)
    else:
        assigned = _units_of(deployment, rows, units)
        ask = partial(deployment.infer, rows, assigned, request.confidence)
    return ask() if len(rows) <= deployment.inline_rows else await asyncio.to_thread(ask)


def _new_id() -> str:
    """It begins with the time, so that a store finds neighbours beside each other."""
    return f"{time_ns() // 1_000_000:012x}{token_hex(10)}"
