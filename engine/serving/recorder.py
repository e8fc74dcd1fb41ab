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
from typing import Protocol

from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.record import Record

DURABLE, BUFFERED, OFF = "durable", "buffered", "off"
COMMITTED, QUEUED, DROPPED = "committed", "queued", "dropped"
GROUP_ROWS = 2_000
"""One commit takes about this many rows, so that no reader and no other writer waits for long."""
PATIENCE_SECONDS = 2.0
"""How long a reply waits for its commit before it goes out as queued."""
RETRY_SECONDS = 0.5
LAST_SECONDS = 5.0
"""How long the end of the service may take to write what is left."""
LINGER_SECONDS = 0.002
"""How long a group may grow where others came during the last commit: small groups are dear, and a
caller who is alone never waits for company."""


class Recordable(Protocol):
    """Something answered: so many rows, and their records when they are asked for."""

    def __len__(self) -> int: ...

    def records(self) -> list[Record]: ...


class Pending:
    """What was handed over, and who waits for it."""

    def __init__(self, answered: Recordable) -> None:
        self.answered = answered
        self.rows = len(answered)
        self.waiter: asyncio.Future[str] | None = None


Tell = Callable[[str, int, str], None]
"""Told from the writer's thread or the event loop: what became of how many rows, and why."""


class Recorder:
    """Owns the writer's thread; `refusal` says why records cannot be written, now."""

    def __init__(self, records: Records, *, mode: str, limit: int, tell: Tell) -> None:
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
        self._thread = Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return self._queued_rows

    async def keep(self, answered: Recordable) -> str:
        """What became of it: committed, queued (it will be when it can), dropped, or off."""
        if self.mode == OFF:
            return OFF
        pending = Pending(answered)
        if self.mode == BUFFERED or self.refusal:
            return self.put(pending)
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        pending.waiter = waiter
        self._enter(pending)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await waiter
        except TimeoutError:
            self._fail(f"no answer for {PATIENCE_SECONDS:g} s")
            return QUEUED

    def put(self, pending: Pending) -> str:
        """Hand over without waiting; dropped, and counted, where the queue is full."""
        if self.mode == OFF:
            return OFF
        if self._queued_rows + pending.rows > self.limit:
            self._drop(pending.rows, "the queue is full")
            return DROPPED
        self._enter(pending)
        return QUEUED

    def close(self) -> None:
        """Write what is left, once; what cannot be written then is counted as dropped."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(LAST_SECONDS)
        if self._queued_rows:
            self._drop(self._queued_rows, f"the service ended: {self.refusal or 'no answer'}")

    def _enter(self, pending: Pending) -> None:
        with self._changed:
            self._queue.append(pending)
            self._queued_rows += pending.rows
            self._changed.notify()

    def _write(self) -> None:
        while group := self._next_group():
            try:
                self._records.append([r for one in group for r in one.answered.records()])
            except RecordsUnavailable as error:
                self._wait_out(group, str(error))
            except Exception:  # something in the group cannot be kept: find out what
                for one in group:
                    self._write_alone(one)
            else:
                self._done(group, COMMITTED)

    def _next_group(self) -> list[Pending]:
        """What waits, up to about GROUP_ROWS; nothing when it is time to end."""
        with self._changed:
            is_busy = bool(self._queue)
            while not self._queue and not self._closing.is_set():
                self._changed.wait()
        if is_busy:
            self._closing.wait(LINGER_SECONDS)
        with self._changed:
            group: list[Pending] = []
            rows = 0
            while self._queue and rows < GROUP_ROWS:
                group.append(self._queue.popleft())
                rows += group[-1].rows
            return group

    def _write_alone(self, pending: Pending) -> None:
        try:
            self._records.append(pending.answered.records())
        except RecordsUnavailable as error:
            self._wait_out([pending], str(error))
        except Exception as error:
            self._drop(pending.rows, f"cannot be kept: {error!r}")
            self._done([pending], DROPPED)
        else:
            self._done([pending], COMMITTED)

    def _wait_out(self, group: list[Pending], reason: str) -> None:
        """Let the replies go, put the group back at the head of the queue, pause."""
        self._fail(reason)
        self._release(group, QUEUED)
        with self._changed:
            self._queue.extendleft(reversed(group))
            if self._closing.is_set():
                self._queue.clear()
        self._closing.wait(RETRY_SECONDS)

    def _fail(self, reason: str) -> None:
        """From now on nobody waits, until something is written again."""
        if not self.refusal:
            self._tell("failing", 0, reason)
        self.refusal = reason

    def _done(self, group: list[Pending], what: str) -> None:
        rows = sum(one.rows for one in group)
        with self._changed:
            self._queued_rows -= rows
        if what == COMMITTED:
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
        waiters = [one.waiter for one in group if one.waiter is not None]
        for one in group:
            one.waiter = None
        if waiters:
            waiters[0].get_loop().call_soon_threadsafe(resolve, waiters, what)


def resolve(waiters: list[asyncio.Future[str]], what: str) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(what)
