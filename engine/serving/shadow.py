"""Shadows are asked after the reply: each from a bounded queue, by a thread of its own."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition, Thread

import numpy as np

from engine.domain.answer import AnsweredRows
from engine.domain.schema import Matrix
from engine.domain.version import Version
from engine.serving.deployment import VariantModel, asked

MOST_WAITING_ROWS = 10_000
"""While a shadow cannot keep up, it is not shown further rows."""
_LAST_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class ShadowRequest:
    """Rows that were answered already, and who else is to be asked about them."""

    shadows: tuple[VariantModel, ...]
    answer: AnsweredRows
    rows: Matrix


_Keep = Callable[[AnsweredRows], None]
_Skip = Callable[[str, VariantModel, int], None]


class _Shadow:
    """One version's queue and thread: a shadow that hangs holds up no other."""

    def __init__(self, keep: _Keep) -> None:
        self._keep = keep
        self._waiting: deque[tuple[VariantModel, ShadowRequest]] = deque()
        self._rows = 0
        self._changed = Condition()
        self._is_over = False
        self._thread = Thread(target=self._ask, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, arm: VariantModel, question: ShadowRequest) -> bool:
        """Whether there was room for it."""
        with self._changed:
            if self._rows + len(question.rows) > MOST_WAITING_ROWS:
                return False
            self._waiting.append((arm, question))
            self._rows += len(question.rows)
            self._changed.notify()
            return True

    def end(self) -> None:
        """When everything that waits is answered."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def left(self, patience_seconds: float) -> list[tuple[VariantModel, ShadowRequest]]:
        """The requests that still wait after this time; they are not asked any more."""
        self._thread.join(patience_seconds)
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
        return left

    def _ask(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_over:
                    self._changed.wait()
                if not self._waiting:
                    return
                arm, question = self._waiting.popleft()
                self._rows -= len(question.rows)
            everyone = np.arange(len(question.rows))
            part = asked(arm, question.rows, everyone, confidence=question.answer.confidence)
            self._keep(replace(question.answer, parts=(part,)))


class Shadows:
    """All shadows of a process; `skip` is told of the rows one was not asked about. `running`
    are those that have a thread."""

    def __init__(self, keep: _Keep, skip: _Skip) -> None:
        self._keep = keep
        self._skip = skip
        self.running: dict[Version, _Shadow] = {}

    def ask(self, question: ShadowRequest) -> None:
        """Never waits and never fails; a version that is a shadow no more is let go."""
        wanted = {arm.version: arm for arm in question.shadows}
        for version in self.running.keys() - wanted.keys():
            self._pass_over(self.running.pop(version), patience_seconds=0)
        for version, arm in wanted.items():
            if version not in self.running:
                self.running[version] = _Shadow(self._keep)
            if not self.running[version].offer(arm, question):
                self._skip(question.answer.problem, arm, len(question.rows))

    def close(self) -> None:
        """Ask what waits, but not for long; the rest is skipped."""
        for shadow in self.running.values():
            shadow.end()
        for shadow in self.running.values():
            self._pass_over(shadow, _LAST_SECONDS / len(self.running))
        self.running.clear()

    def _pass_over(self, shadow: _Shadow, patience_seconds: float) -> None:
        shadow.end()
        for arm, question in shadow.left(patience_seconds):
            self._skip(question.answer.problem, arm, len(question.rows))
