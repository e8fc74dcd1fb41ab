"""Natural batching: requests that arrive in one turn of the event loop are answered together.

The cost of a turn that does not depend on its rows is shared by all that arrived in it, and nobody
waits for company: with one caller at a time every turn has one request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")
_Answer = Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]


class Turns(Generic[Question, Answer]):
    """Collects questions until the event loop has begun every request that has arrived."""

    def __init__(self) -> None:
        self._open: dict[Hashable, list[tuple[Question, asyncio.Future[Answer]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def ask(
        self, key: Hashable, question: Question, answer: "_Answer[Question, Answer]"
    ) -> Answer:
        """The answer to this question, one of those that `answer` gives to all questions of this
        turn and key; raises what `answer` raises."""
        found: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        turn = self._open.get(key)
        if turn is None:
            self._open[key] = turn = []
            task = asyncio.create_task(self._answer(key, answer))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        turn.append((question, found))
        return await found

    async def _answer(self, key: Hashable, answer: "_Answer[Question, Answer]") -> None:
        """Runs after every request of this turn: the event loop calls in the order it was told."""
        turn = self._open.pop(key)
        try:
            answers = await answer([question for question, _ in turn])
        except BaseException as error:
            for _, found in turn:
                if not found.done():
                    found.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, found), one in zip(turn, answers, strict=True):
            if not found.done():
                found.set_result(one)
