"""The data path: from a body's bytes to a reply's bytes, whichever way a request came in.

Validate, resolve, encode, assign, infer, record, answer. One prediction is a batch of one, and what
arrives in one turn of the event loop is one batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate, chain
from time import perf_counter, time_ns
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter

from engine.domain.answer import Answer, AnsweredRows, AnswerPart
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.ids import RandomNames
from engine.domain.prediction import Instances
from engine.domain.problem import Contract
from engine.domain.rows import MatrixRows
from engine.domain.schema import Matrix
from engine.domain.times import written
from engine.serving.deployment import Deployment
from engine.serving.live import Live
from engine.serving.lookup import Resolver
from engine.serving.recorder import Recorder
from engine.serving.shadow import ShadowRequest, Shadows
from engine.serving.turn import Turns
from engine.serving.validation import validated

_ID_BYTES = 10
"""Besides the time, in the name of what was answered together."""
_DEGRADED_NOTE = (
    "the features could not be looked up: this is the answer for a typical row, between bounds "
    "that are wide enough for nearly everyone"
)


class PredictionRequest(NamedTuple):
    """What is asked, by whom. `body` gives the bytes, once there is a model to answer them; `unit`
    is who or what is asked for, by default the key of each row, or else its features."""

    body: Callable[[], Awaitable[bytes]]
    confidence: float = DEFAULT_CONFIDENCE
    model_version: str | None = None
    unit: str | None = None
    request_id: str = ""
    caller: str | None = None


class Reply(NamedTuple):
    """JSON, and what became of the record: committed, queued, dropped or off."""

    content: bytes
    recorded: str


class _Terms(NamedTuple):
    """What the requests of one turn must have in common to be answered together."""

    deployment: Deployment
    confidence: float
    is_degraded: bool


class _Question(NamedTuple):
    request: PredictionRequest
    instances: Instances


class _Told(NamedTuple):
    """Which of the rows that were answered are a question's own, and what became of the record."""

    answered: AnsweredRows
    place: slice
    recorded: str


@dataclass(frozen=True)
class DataPath:
    """What the requests of one problem go through; `told` is told of every answer."""

    live: Live
    resolver: Resolver
    recorder: Recorder
    shadows: Shadows
    told: Callable[[AnsweredRows], None]
    threshold: float
    turns: Turns[_Question, _Told] = field(default_factory=Turns)
    names: RandomNames = field(default_factory=RandomNames)

    async def predict(
        self, contract: Contract, body_type: TypeAdapter[Any], request: PredictionRequest
    ) -> Reply:
        """Raises the errors of the domain that say what is wrong with the request, or that nobody
        can answer it now."""
        start, live = perf_counter(), self.live
        pinned = request.model_version
        deployment = await live.pinned(pinned) if pinned else live.deployment()
        body = await validated(body_type, await request.body())
        instances = await self.resolver.resolve(live.problem, contract.entities(body), _now)
        terms = _Terms(deployment, request.confidence, instances.is_degraded)
        told = await self._ask(terms, _Question(request, instances))
        answer = Answer(
            told.answered,
            told.place,
            place_of=live.place,
            elapsed_ms=lambda: round(1_000 * (perf_counter() - start), 3),
            threshold=self.threshold,
        )
        return Reply(orjson.dumps(contract.answer(answer, body)), told.recorded)

    async def _ask(self, terms: _Terms, question: _Question) -> _Told:
        """Together with what else arrived in this turn; rows that are asked in a thread would not
        gain from company, and others would wait for them."""
        answer = partial(self._answer, terms)
        if len(question.instances.rows) > terms.deployment.inline_rows:
            return (await answer([question]))[0]
        return await self.turns.ask(terms, question, answer)

    async def _answer(self, terms: _Terms, questions: Sequence[_Question]) -> list[_Told]:
        deployment, problem = terms.deployment, self.live.problem
        schema = problem.schema
        rows = _joined(question.instances.rows for question in questions)
        units = _joined(map(_units_of, questions))
        matrix = schema.encode(rows)
        notes = schema.warnings(rows)
        if terms.is_degraded:
            notes = [[_DEGRADED_NOTE] for _ in notes]
        answered = AnsweredRows(
            problem=problem.name,
            id=self._new_id(),
            predicted_at=_now(),
            rows=MatrixRows(schema.names, matrix) if schema.is_plain else rows,
            units=units,
            notes=notes,
            parts=await _infer(terms, matrix, units),
            confidence=terms.confidence,
            request_ids=_joined([q.request.request_id] * len(q.instances.rows) for q in questions),
            callers=_joined([q.request.caller] * len(q.instances.rows) for q in questions),
            is_degraded=terms.is_degraded,
        )
        self.told(answered)
        recorded = await self.recorder.keep(answered)
        if (deployment.shadows or self.shadows.running) and not terms.is_degraded:
            self.shadows.ask(ShadowRequest(deployment.shadows, answered, matrix))
        ends = list(accumulate(len(question.instances.rows) for question in questions))
        places = map(slice, [0, *ends], ends)
        return [_Told(answered, place, recorded) for place in places]

    def _new_id(self) -> str:
        """It begins with the time, so that a store finds neighbours beside each other."""
        return f"{time_ns() // 1_000_000:012x}{self.names.take(_ID_BYTES)}"


def _joined(columns: Iterable[Sequence[Any]]) -> Sequence[Any]:
    first, *others = columns
    return [*chain(first, *others)] if others else first


def _units_of(question: _Question) -> Sequence[str | None]:
    """What each row is assigned by, where the caller named it."""
    unit, instances = question.request.unit, question.instances
    return [unit] * len(instances.rows) if unit else instances.keys


def _assigned_by(
    deployment: Deployment, rows: Matrix, units: Sequence[str | None]
) -> Sequence[bytes]:
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


async def _infer(terms: _Terms, rows: Matrix, units: Sequence[str | None]) -> list[AnswerPart]:
    """Runs on the event loop while it takes microseconds, and in a thread when it would block the
    loop."""
    deployment = terms.deployment
    if terms.is_degraded:
        ask = partial(deployment.infer_degraded, rows, terms.confidence)
    else:
        assigned = _assigned_by(deployment, rows, units)
        ask = partial(deployment.infer, rows, assigned, terms.confidence)
    return ask() if len(rows) <= deployment.inline_rows else await asyncio.to_thread(ask)


def _now() -> str:
    return written(datetime.now(UTC))
