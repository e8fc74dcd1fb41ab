"""Shadows are asked behind the caller's back: from a bounded queue, by a thread of their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np

from engine.domain.schema import Matrix
from engine.serving.deployment import Answered, Arm, asked

LONGEST_QUEUE = 1_000
"""Requests that may wait; while a shadow cannot keep up, it is not shown further ones."""
IDLE_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class Question:
    """A request that was answered already, and who else is to be asked about it."""

    shadows: tuple[Arm, ...]
    answered: Answered
    rows: Matrix


class Shadows:
    """Owns the queue and the thread; `skip` is told of the rows a shadow was not asked about."""

    def __init__(
        self, keep: Callable[[Answered], None], skip: Callable[[str, Arm, int], None]
    ) -> None:
        self._keep = keep
        self._skip = skip
        self._queue: Queue[Question] = Queue(LONGEST_QUEUE)
        self._closing = Event()
        self._thread = Thread(target=self._ask, name="shadows", daemon=True)
        self._thread.start()

    def ask(self, question: Question) -> None:
        """Never waits and never fails."""
        if not question.shadows:
            return
        try:
            self._queue.put_nowait(question)
        except Full:
            self._pass_over(question)

    def close(self, patience_seconds: float = 1.0) -> None:
        """End after the question at hand; what still waits is passed over."""
        self._closing.set()
        self._thread.join(patience_seconds)
        while not self._queue.empty():
            self._pass_over(self._queue.get_nowait())

    def _pass_over(self, question: Question) -> None:
        for shadow in question.shadows:
            self._skip(question.answered.problem, shadow, len(question.rows))

    def _ask(self) -> None:
        while not self._closing.is_set():
            try:
                question = self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                continue
            everyone = np.arange(len(question.rows))
            for shadow in question.shadows:
                part = asked(shadow, question.rows, everyone, question.answered.confidence)
                self._keep(replace(question.answered, parts=(part,)))
