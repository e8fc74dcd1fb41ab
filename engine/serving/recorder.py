"""The one writer of records: it commits what many requests wait for, all at once.

A request hands over what was answered and waits until that is on disk (group commit: while one
commit runs, the next group gathers). When the store cannot be used, requests stop waiting, what
they hand over queues up to a limit, and the writer tries again until it can be written.
Source: DeWitt et al., "Implementation techniques for main memory database systems", SIGMOD 1984,
section 5.2.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread
from time import monotonic, sleep
from typing import Protocol

from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.record import RecordBlock

DURABLE, _BUFFERED, _OFF = "durable", "buffered", "off"
COMMITTED, QUEUED, DROPPED = "committed", "queued", "dropped"
_GROUP_ROWS = 10_000
"""One commit takes about this many rows, so that no reader and no other writer waits for long."""
PATIENCE_SECONDS = 2.0
"""How long a reply waits for its commit before it goes out as queued."""
_RETRY_SECONDS = 0.5
LAST_TRIES_SECONDS, _LAST_RETRY_SECONDS = 1.5, 0.05
"""How long a failing store is tried again while the service stops."""
LAST_SECONDS = 3.0
"""How long the service waits for the writer when it stops, whatever the store does."""
_LINGER_SECONDS = 0.02
"""How long a group may grow while nobody waits for it: small groups are expensive."""


class _Recordable(Protocol):
    """Something answered: so many rows, and the blocks of their records when asked for."""

    def __len__(self) -> int: ...

    def blocks(self) -> list[RecordBlock]: ...


class Pending:
    """What was handed over, and who waits for it."""

    def __init__(self, answered: _Recordable) -> None:
        self.answered = answered
        self.rows = len(answered)
        self.waiter: asyncio.Future[str] | None = None


_Tell = Callable[[str, int, str], None]
"""Told from the writer's thread or the event loop: what became of how many rows, and why."""


class Recorder:
    """Owns the writer's thread; `refusal` says why records cannot be written, now."""

    def __init__(self, records: Records, *, mode: str, limit: int, tell: _Tell) -> None:
        self.mode = mode
        self.limit = limit
        self.refusal = ""
        self.dropped = 0
        self._records = records
        self._tell = tell
        self._queue: deque[Pending] = deque()
        self._queued_rows = 0
        self._changed = Condition()
        self._closing = Event()
        self._deadline = float("inf")
        self._thread = Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return self._queued_rows

    async def keep(self, answered: _Recordable) -> str:
        """What became of it: committed, queued (it will be when it can), dropped, or off."""
        if self.mode == _OFF:
            return _OFF
        pending = Pending(answered)
        if self.mode == _BUFFERED or self.refusal:
            return self.put(pending)
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        pending.waiter = waiter
        if self.put(pending) == DROPPED:
            return DROPPED
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await waiter
        except TimeoutError:
            self._fail(f"the store has not answered for {PATIENCE_SECONDS:g} s")
            return QUEUED
        finally:
            pending.waiter = None

    def put(self, pending: Pending) -> str:
        """Hand over without waiting; dropped, and counted, where there is no place for it."""
        if self.mode == _OFF:
            return _OFF
        with self._changed:
            objection = self._objection(pending)
            if not objection:
                self._queue.append(pending)
                self._queued_rows += pending.rows
                self._changed.notify()
                return QUEUED
        self._drop(pending.rows, objection)
        return DROPPED

    def close(self) -> None:
        """Write what is left; what cannot be written in time is counted as dropped."""
        with self._changed:
            self._deadline = monotonic() + LAST_TRIES_SECONDS
            self._closing.set()
            self._changed.notify()
        self._thread.join(LAST_SECONDS)
        with self._changed:
            left = [*self._queue]
            self._queue.clear()
            rows, self._queued_rows = self._queued_rows, 0
        if rows:
            self._drop(rows, f"the service ended: {self.refusal or 'no answer'}")
        self._release(left, DROPPED)

    def _objection(self, pending: Pending) -> str:
        """Why it cannot be queued, if so. A caller who waits for the commit takes no place in the
        queue: such callers are few."""
        if self._closing.is_set():
            return "the service is stopping"
        is_full = self._queued_rows + pending.rows > self.limit
        return "the queue is full" if is_full and pending.waiter is None else ""

    def _write(self) -> None:
        while group := self._next_group():
            try:
                self._append(group)
            except RecordsUnavailable as error:
                self._wait_out(str(error))

    def _next_group(self) -> list[Pending]:
        """The head of the queue, about GROUP_ROWS; nothing when it is time to end."""
        with self._changed:
            while not self._queue and not self._closing.is_set():
                self._changed.wait()
        if self.mode == _BUFFERED and self._queued_rows < _GROUP_ROWS:
            self._closing.wait(_LINGER_SECONDS)
        if self.refusal and monotonic() > self._deadline:
            return []
        with self._changed:
            group: list[Pending] = []
            rows = 0
            for pending in self._queue:
                if rows >= _GROUP_ROWS:
                    break
                group.append(pending)
                rows += pending.rows
            return group

    def _append(self, group: list[Pending]) -> None:
        """Write a group: what was written or dropped leaves the queue, the rest stays when the
        store fails."""
        try:
            self._records.append([block for one in group for block in one.answered.blocks()])
        except RecordsUnavailable:
            raise
        except Exception as error:  # something in the group cannot be written: find out what
            if len(group) == 1:
                self._settle(group, DROPPED, f"cannot be written: {error!r}")
                return
            for one in group:
                self._append([one])
        else:
            self._settle(group, COMMITTED)

    def _wait_out(self, reason: str) -> None:
        """Answer the waiting requests, then pause."""
        self._fail(reason)
        with self._changed:
            waiting = [*self._queue]
        self._release(waiting, QUEUED)
        if self._closing.wait(_RETRY_SECONDS):
            sleep(_LAST_RETRY_SECONDS)

    def _fail(self, reason: str) -> None:
        """From now on no request waits, until something is written again."""
        if not self.refusal:
            self._tell("failing", 0, reason)
        self.refusal = reason

    def _settle(self, group: list[Pending], what: str, reason: str = "") -> None:
        """Remove the group from the head of the queue, unless `close` gave it up already."""
        rows = sum(one.rows for one in group)
        with self._changed:
            if not self._queue:
                return
            for _ in group:
                self._queue.popleft()
            self._queued_rows -= rows
        if what == DROPPED:
            self._drop(rows, reason)
        else:
            self._tell(COMMITTED, rows, "")
            if self.refusal:
                self.refusal = ""
                self._tell("recovered", 0, "")
        self._release(group, what)

    def _drop(self, rows: int, reason: str) -> None:
        with self._changed:
            self.dropped += rows
        self._tell(DROPPED, rows, reason)

    def _release(self, group: list[Pending], what: str) -> None:
        """Wake all that wait with one call into their event loop."""
        waiters = [waiter for one in group if (waiter := one.waiter) is not None]
        if waiters:
            waiters[0].get_loop().call_soon_threadsafe(_resolve, waiters, what)


def _resolve(waiters: list[asyncio.Future[str]], what: str) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(what)
