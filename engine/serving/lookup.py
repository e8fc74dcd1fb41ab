"""From what a caller named to rows of features: what goes by key is looked up, in time or not at
all.

A look-up runs in a thread of a small pool and has a budget. Where the store fails, is slow or holds
every thread, the problem's fallback row answers instead: a prediction waits for no store.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.domain.errors import UnknownEntity
from engine.domain.ports import FeatureStore
from engine.domain.prediction import Entities, Instances
from engine.domain.problem import Problem
from engine.domain.schema import Row

THREADS = 4
"""How many look-ups run at once; a store that hangs can block at most this many."""
_LOST_SECONDS, _MOST_LOST = 30.0, 12
"""A look-up without an answer after this many seconds is given up, as when a server died without
closing its connection; a process may lose this many threads to such look-ups."""
LAST_SECONDS = 1.0
"""How long the service waits for look-ups when it stops, whatever the store does."""
SLOW, BUSY, FAILING, INVALID = "slow", "busy", "failing", "invalid"
_SHOWN, _SHOWN_LETTERS = 3, 100

_Rows = Mapping[str, Row]
_Tell = Callable[[str, str, str], None]
"""Told on the event loop which problem's request got the fallback, and why: SLOW (no answer within
the budget), BUSY (no thread within the budget), FAILING, or INVALID (what is stored breaks the
schema); and a reason for people."""


class _Trouble(Exception):
    """Why the fallback answers: one of the words above, and a reason for people."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(eq=False)
class _LookUp:
    """One request's look-up; `answer` belongs to the event loop of whoever waits for it."""

    problem: Problem
    keys: Sequence[str]
    at: str
    answer: asyncio.Future[_Rows | _Trouble]
    is_running: bool = False
    is_given_up: bool = False

    def settle(self, said: _Rows | _Trouble) -> None:
        if not self.answer.done():
            self.answer.set_result(said)


class Resolver:
    """Owns the threads that look up: they start when one is needed, and none of them keeps the
    process from ending. `refusal` says why the store could not answer, until it does; what it
    answers may be wrong for one key and say nothing of the others."""

    def __init__(self, features: FeatureStore, *, budget_seconds: float, tell: _Tell) -> None:
        self.refusal = ""
        self._features = features
        self._budget_seconds = budget_seconds
        self._tell = tell
        self._threads: list[Thread] = []
        self._questions: SimpleQueue[_LookUp | None] = SimpleQueue()
        self._lock = Lock()
        self._held_up: dict[_LookUp, float] = {}
        self._row_types: dict[str, TypeAdapter[list[Row]]] = {}

    async def resolve(
        self, problem: Problem, entities: Entities, now: Callable[[], str]
    ) -> Instances:
        """The rows of all entities, as they are known `now` (UTC, ISO 8601); the fallback for
        all of them when those that go by key cannot be had.

        Raises UnknownEntity, naming the first few, and nothing else.
        """
        known = entities.instances()
        if known is not None:
            return known
        keys = entities.keys or [None] * len(entities)
        if problem.lookup is None:
            raise UnknownEntity(f"{problem.name} looks up no features by key; send the features")
        try:
            found = await self._look_up(problem, entities, now())
        except _Trouble as trouble:
            self.refusal = "" if trouble.kind == INVALID else str(trouble)
            self._tell(problem.name, trouble.kind, str(trouble))
            return Instances([problem.lookup.fallback] * len(keys), keys, is_degraded=True)
        self.refusal = ""
        _refuse_unknown(problem.lookup.key, entities, found)
        return Instances([found[key or ""] if row is None else row for key, row in entities], keys)

    def close(self) -> None:
        """Let look-ups end, but not for long."""
        deadline = monotonic() + LAST_SECONDS
        for _ in self._threads:
            self._questions.put(None)
        for thread in self._threads:
            thread.join(max(deadline - monotonic(), 0))
        self._threads.clear()

    async def _look_up(self, problem: Problem, entities: Entities, at: str) -> _Rows:
        """Raises Trouble."""
        threads = THREADS + self._lost()
        if len(self._held_up) >= threads:
            raise _Trouble(BUSY, f"{threads} look-ups still wait for the store")
        self._start(threads)
        keys = dict.fromkeys(key for key, row in entities if row is None and key is not None)
        question = _LookUp(problem, [*keys], at, asyncio.get_running_loop().create_future())
        self._questions.put(question)
        try:
            await asyncio.wait((question.answer,), timeout=self._budget_seconds)
            said = question.answer.result() if question.answer.done() else self._late(question)
        finally:
            self._give_up(question)
        if isinstance(said, _Trouble):
            raise said
        return said

    def _late(self, question: _LookUp) -> _Trouble:
        kind = SLOW if question.is_running else BUSY
        return _Trouble(kind, f"no features within {1_000 * self._budget_seconds:g} ms")

    def _lost(self) -> int:
        """How many threads are given up for good: each is replaced, but for a store that takes
        one after the other."""
        with self._lock:
            since = [
                begun for begun in self._held_up.values() if monotonic() > begun + _LOST_SECONDS
            ]
        return min(len(since), _MOST_LOST)

    def _start(self, threads: int) -> None:
        while len(self._threads) < threads:
            thread = Thread(target=self._work, name="look-up", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _give_up(self, question: _LookUp) -> None:
        """Stop waiting for a look-up; one that was answered is left as it is."""
        with self._lock:
            if not question.answer.done():
                question.is_given_up = True
                question.answer.cancel()
                if question.is_running:
                    self._held_up[question] = monotonic()

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            with self._lock:
                if question.is_given_up:
                    continue
                question.is_running = True
            said = self._answer(question)
            with self._lock:
                question.is_running = False
                self._held_up.pop(question, None)
            with suppress(RuntimeError):  # the event loop has ended, and who waited with it
                question.answer.get_loop().call_soon_threadsafe(question.settle, said)

    def _answer(self, question: _LookUp) -> _Rows | _Trouble:
        try:
            rows = self._features.get(question.problem.name, question.keys, question.at)
            return self._checked(question.problem, rows)
        except ValidationError as error:
            return _Trouble(INVALID, _broken_rule(error))
        except Exception as error:  # whatever a driver does, a prediction does not fail with it
            return _Trouble(FAILING, str(error) or repr(error))

    def _checked(self, problem: Problem, rows: _Rows) -> _Rows:
        """The columns that are declared today; raises ValidationError."""
        row_type = self._row_types.get(problem.name)
        if row_type is None:
            many: Any = list
            row_type = TypeAdapter(many[problem.schema.row_type("Known")])
            self._row_types[problem.name] = row_type
        names = problem.schema.names
        declared = [{name: row[name] for name in names if name in row} for row in rows.values()]
        return dict(zip(rows, row_type.validate_python(declared), strict=True))


def _refuse_unknown(name: str, entities: Entities, found: _Rows) -> None:
    """Raises UnknownEntity for those that have neither a row nor one in `found`."""
    keys = entities.keys
    unknown = [place for place, (k, row) in enumerate(entities) if row is None and k not in found]
    if not unknown:
        return
    if len(entities) == 1:
        raise UnknownEntity(f"no features are known for {name} {_shown(keys[0])}")
    shown = [f"{_shown(keys[place])} (row {place})" for place in unknown[:_SHOWN]]
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    raise UnknownEntity(
        f"no features are known for {name} {', '.join(shown)}{more}; "
        f"{len(unknown)} of {len(entities)} are unknown"
    )


def _shown(key: str | None) -> str:
    return repr(key and key[:_SHOWN_LETTERS])[:_SHOWN_LETTERS]


def _broken_rule(error: ValidationError) -> str:
    """The first broken rule, in words; the key is personal data and is left out."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"][1:]))
    return f"what the store holds breaks the schema: {where}: {first['msg']}"
