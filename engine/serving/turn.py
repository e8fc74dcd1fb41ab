"""Natural batching: requests that arrive in one turn of the event loop are answered together.

The cost of a turn that does not depend on its rows is shared by all that arrived in it, and nobody
waits for company: with one caller at a time every turn has one request. While one turn is answered
(while its records are committed, say) the next one gathers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")
_AnswerAll = Callable[[Sequence[_Question]], Awaitable[Sequence[_Answer]]]


class Turns(Generic[_Question, _Answer]):
    """Collects questions until the event loop has begun every request that has arrived."""

    def __init__(self) -> None:
        self._open: dict[Hashable, list[tuple[_Question, asyncio.Future[_Answer]]]] = {}
        self._last: dict[Hashable, asyncio.Task[None]] = {}

    async def ask(
        self, key: Hashable, question: _Question, answer: "_AnswerAll[_Question, _Answer]"
    ) -> _Answer:
        """The answer to this question, one of those that `answer` gives to all questions of this
        turn and key; raises what `answer` raises."""
        found: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        turn = self._open.get(key)
        if turn is None:
            self._open[key] = turn = []
            before = self._last.get(key)
            self._last[key] = asyncio.create_task(self._answer(key, answer, before))
        turn.append((question, found))
        return await found

    async def _answer(
        self,
        key: Hashable,
        answer: "_AnswerAll[_Question, _Answer]",
        before: asyncio.Task[None] | None,
    ) -> None:
        """Runs after every request of this turn: the event loop calls in the order it was told."""
        if before is not None:
            await asyncio.wait((before,))
        turn = self._open.pop(key)
        try:
            answers = await answer([question for question, _ in turn])
        except Exception as error:
            for _, found in turn:
                if not found.done():
                    found.set_exception(error)
        else:
            for (_, found), one in zip(turn, answers, strict=True):
                if not found.done():
                    found.set_result(one)
        finally:
            if self._last[key] is asyncio.current_task():
                del self._last[key]
            for _, found in turn:
                found.cancel()
