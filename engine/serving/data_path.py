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
from engine.serving.reading import Asked, Reader, read_rows
from engine.serving.recorder import Recorder
from engine.serving.shadow import ShadowRequest, Shadows
from engine.serving.turn import Turns
from engine.serving.validation import INLINE_BYTES

_ID_BYTES = 10
"""Besides the time, in the name of what was answered together."""
_DEGRADED_NOTE = (
    "the features could not be looked up: this is the answer for a typical row, between bounds "
    "that are wide enough for nearly everyone"
)


class PredictionRequest(NamedTuple):
    """What is asked, by whom. `body` gives the bytes, once there is a model to answer them; `unit`
    is who or what is asked for, by default the key of each row, or else its features. `reader` is
    for bodies and replies that are not rows of JSON."""

    body: Callable[[], Awaitable[bytes]]
    confidence: float = DEFAULT_CONFIDENCE
    model_version: str | None = None
    unit: str | None = None
    request_id: str = ""
    caller: str | None = None
    reader: Reader | None = None


class Reply(NamedTuple):
    """The bytes, and what became of the record: committed, queued, dropped or off."""

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


class _Said(NamedTuple):
    """Rows that were answered, and their matrix."""

    answered: AnsweredRows
    matrix: Matrix


class _Told(NamedTuple):
    """Which of the rows that were answered are a question's own, and what became of the record."""

    answered: AnsweredRows
    place: slice
    recorded: str


class _Job(NamedTuple):
    """A request with what was there when it began."""

    request: PredictionRequest
    read: Reader
    deployment: Deployment
    start: float


class _Whole(NamedTuple):
    """A request that was answered in one go: its terms, what was said, and the reply."""

    terms: _Terms
    said: _Said
    content: bytes


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
        read = request.reader or partial(read_rows, contract, body_type)
        job = _Job(request, read, deployment, start)
        body = await request.body()
        if len(body) <= INLINE_BYTES:
            return await self._reply(job, read(body))
        found = await asyncio.to_thread(self._read, job, body)
        return await (
            self._keep_whole(found) if isinstance(found, _Whole) else self._reply(job, found)
        )

    def _read(self, job: _Job, body: bytes) -> Asked | _Whole:
        """In a thread, which answers many rows at once if nothing has to be looked up."""
        asked = job.read(body)
        instances = asked.entities.instances()
        if instances is None or len(instances.rows) <= job.deployment.inline_rows:
            return asked
        return self._answer_whole(job, asked, instances)

    async def _reply(self, job: _Job, asked: Asked) -> Reply:
        """Together with what else arrived in this turn; rows that are asked in a thread would not
        gain from company, and others would wait for them."""
        instances = await self.resolver.resolve(self.live.problem, asked.entities, _now)
        if len(instances.rows) > job.deployment.inline_rows:
            whole = await asyncio.to_thread(self._answer_whole, job, asked, instances)
            return await self._keep_whole(whole)
        terms = _terms(job, instances)
        question = _Question(job.request, instances)
        told = await self.turns.ask(terms, question, partial(self._answer, terms))
        content = asked.write(self._answer_of(job, told.answered, told.place))
        return Reply(content, told.recorded)

    def _answer_whole(self, job: _Job, asked: Asked, instances: Instances) -> _Whole:
        terms = _terms(job, instances)
        said = self._say(terms, [_Question(job.request, instances)])
        place = slice(0, len(instances.rows))
        return _Whole(terms, said, asked.write(self._answer_of(job, said.answered, place)))

    async def _keep_whole(self, whole: _Whole) -> Reply:
        return Reply(whole.content, await self._keep(whole.terms, whole.said))

    def _answer_of(self, job: _Job, answered: AnsweredRows, place: slice) -> Answer:
        return Answer(
            answered,
            place,
            place_of=self.live.place,
            elapsed_ms=lambda: round(1_000 * (perf_counter() - job.start), 3),
            threshold=self.threshold,
        )

    async def _answer(self, terms: _Terms, questions: Sequence[_Question]) -> list[_Told]:
        """Runs on the event loop while it takes microseconds, and in a thread when it would block
        the loop."""
        ends = list(accumulate(len(question.instances.rows) for question in questions))
        if ends[-1] <= terms.deployment.inline_rows:
            said = self._say(terms, questions)
        else:
            said = await asyncio.to_thread(self._say, terms, questions)
        recorded = await self._keep(terms, said)
        places = map(slice, [0, *ends], ends)
        return [_Told(said.answered, place, recorded) for place in places]

    def _say(self, terms: _Terms, questions: Sequence[_Question]) -> _Said:
        problem = self.live.problem
        schema = problem.schema
        rows = _joined(question.instances.rows for question in questions)
        units = _joined(map(_units_of, questions))
        matrix = schema.encode(rows)
        notes = schema.warnings(rows, matrix)
        if terms.is_degraded:
            notes = [[_DEGRADED_NOTE] for _ in notes]
        answered = AnsweredRows(
            problem=problem.name,
            id=self._new_id(),
            predicted_at=_now(),
            rows=MatrixRows(schema.names, matrix) if schema.is_plain else rows,
            units=units,
            notes=notes,
            parts=_infer(terms, matrix, units),
            confidence=terms.confidence,
            request_ids=_joined([q.request.request_id] * len(q.instances.rows) for q in questions),
            callers=_joined([q.request.caller] * len(q.instances.rows) for q in questions),
            is_degraded=terms.is_degraded,
        )
        return _Said(answered, matrix)

    async def _keep(self, terms: _Terms, said: _Said) -> str:
        """What became of the record; shadows are asked after it."""
        self.told(said.answered)
        recorded = await self.recorder.keep(said.answered)
        shadows = terms.deployment.shadows
        if (shadows or self.shadows.running) and not terms.is_degraded:
            self.shadows.ask(ShadowRequest(shadows, *said))
        return recorded

    def _new_id(self) -> str:
        """It begins with the time, so that a store finds neighbours beside each other."""
        return f"{time_ns() // 1_000_000:012x}{self.names.take(_ID_BYTES)}"


def _terms(job: _Job, instances: Instances) -> _Terms:
    return _Terms(job.deployment, job.request.confidence, instances.is_degraded)


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


def _infer(terms: _Terms, rows: Matrix, units: Sequence[str | None]) -> list[AnswerPart]:
    deployment = terms.deployment
    if terms.is_degraded:
        return deployment.infer_degraded(rows, terms.confidence)
    return deployment.infer(rows, _assigned_by(deployment, rows, units), terms.confidence)


def _now() -> str:
    return written(datetime.now(UTC))
