"""Every answer is recorded: the recorder with its counters and its log, and what is too old."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic

from structlog.typing import FilteringBoundLogger

from app.logs import Seldom
from app.metrics import Metrics
from engine.domain.answer import AnsweredRows
from engine.domain.errors import RecordsUnavailable
from engine.domain.ports import Records
from engine.domain.retention import forget
from engine.domain.times import written
from engine.serving.recorder import COMMITTED, DROPPED, Pending, Recorder
from engine.serving.shadow import Shadows
from engine.settings import Settings

_TIDY_SECONDS = 3_600
_STEP_SECONDS = 0.3
"""How long the end of the service waits for the step of forgetting that is under way."""


@contextmanager
def recording(
    settings: Settings, records: Records, metrics: Metrics, *, log: FilteringBoundLogger
) -> Iterator[Recorder]:
    """A running recorder; at the end everything is written, or counted and logged as dropped."""
    seldom = Seldom()

    def tell(event: str, rows: int, reason: str) -> None:
        if rows:
            metrics.recorded(event, rows=rows, waiting=recorder.waiting)
        if event == COMMITTED or (event == DROPPED and not seldom.is_due()):
            return
        state = {"waiting": recorder.waiting, "dropped": recorder.dropped}
        log.error(f"records_{event}", rows=rows, reason=reason, **state)

    recorder = Recorder(records, mode=settings.records, limit=settings.records_queue, tell=tell)
    try:
        yield recorder
    finally:
        recorder.close()
        records.close()


@contextmanager
def shadowing(recorder: Recorder, metrics: Metrics) -> Iterator[Shadows]:
    """Shadows whose answers are recorded, after those of the callers."""

    def keep(answer: AnsweredRows) -> None:
        metrics.predicted(answer)
        recorder.put(Pending(answer))

    shadows = Shadows(keep=keep, skip=metrics.skipped)
    try:
        yield shadows
    finally:
        shadows.close()


async def keep_tidy(records: Records, keep_days: int, log: FilteringBoundLogger) -> None:
    """Until cancelled; in a thread of its own, so that a store that hangs holds up no end."""
    ending = Event()
    thread = Thread(
        target=_tidy, args=(records, keep_days, log), kwargs={"ending": ending}, daemon=True
    )
    thread.start()
    try:
        await asyncio.Future()
    finally:
        ending.set()
        thread.join(_STEP_SECONDS)


def _tidy(records: Records, keep_days: int, log: FilteringBoundLogger, *, ending: Event) -> None:
    """Now and every hour, forget what is older."""
    while not ending.is_set():
        before = datetime.now(UTC) - timedelta(days=keep_days)
        try:
            forgotten = forget(records, written(before), pause=ending.wait, clock=monotonic)
        except RecordsUnavailable as error:
            log.error("records_not_forgotten", reason=str(error))
        else:
            log.info("records_forgotten", rows=forgotten, keep_days=keep_days)
        ending.wait(_TIDY_SECONDS)
