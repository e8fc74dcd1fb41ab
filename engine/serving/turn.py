"""Natural batching: requests that arrive while the event loop goes round are answered together.

The cost of a turn that does not depend on its rows is shared by all that arrived in it, and nobody
waits for company: with one caller at a time every turn has one request. While one turn is answered
(while its records are committed, say) the next one gathers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")
_LATER = 2
"""How many times the event loop goes round before a turn begins, in which it reads from all
connections that have something to say: takes 3 microseconds, and with 16 callers who each wait for
their answer a turn has 14 requests instead of 7. Of those, one commit is paid for."""
_AnswerAll = Callable[[Sequence[_Question]], Awaitable[Sequence[_Answer]]]


class Turns(Generic[_Question, _Answer]):
    """Collects questions until the event loop has read every request that has arrived."""

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
        """Begins when the turn before is answered, and every request that is there has joined."""
        if before is not None:
            await asyncio.wait((before,))
        for _ in range(_LATER):
            await asyncio.sleep(0)
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
