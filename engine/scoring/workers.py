"""Processes that answer chunks of a table, one thread each, in the order the chunks come."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import Any

import pyarrow as pa

from engine.domain.errors import UnusableTable
from engine.scoring.batch import Scorer, ScoringOrder, Tally
from engine.scoring.parts import Parts

_AHEAD = 2
"""Chunks a process may have waiting: with this many no process is idle, and no more are in
memory."""
Keep = Callable[[ScoringOrder, Any], None]
"""Keeps what was answered, a batch with its predictions; an order's second time changes nothing."""


@dataclass(frozen=True)
class Work:
    """What every process knows; `record` keeps a batch in the records, where that is asked for."""

    order: ScoringOrder
    parts: Parts
    record: Keep | None = None


@dataclass(frozen=True)
class _Chunk:
    number: int
    first: int
    batch: Any


class _Worker:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._scorer = Scorer(work.order)

    def do(self, chunk: _Chunk) -> Tally:
        """A part is finished only when its records are kept: what is done again, is recorded again
        under the same ids."""
        batch, tally = self._scorer.score(chunk.batch, chunk.first)
        if self._work.record is not None:
            self._work.record(self._work.order, batch)
        self._work.parts.keep(chunk.number, batch, tally)
        return tally


def scored(work: Work, chunks: Iterable[Any], jobs: int) -> Iterator[tuple[int, Tally]]:
    """The numbers of the parts, in order, each when it is finished; those that were finished before
    are not done again. Never are more chunks in memory than the processes need.

    Raises UnusableTable when a process was killed.
    """
    waiting: deque[tuple[int, Future[Tally]]] = deque()
    first = 0
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (work,)) as pool:
        try:
            for number, batch in enumerate(chunks):
                waiting.append((number, _asked(pool, work, _Chunk(number, first, batch))))
                first += batch.num_rows
                while len(waiting) > _AHEAD * jobs or (waiting and waiting[0][1].done()):
                    yield _finished(waiting)
            while waiting:
                yield _finished(waiting)
        except BrokenProcessPool as error:
            raise UnusableTable(
                "a process that scores was killed, perhaps for want of memory: run the same again, "
                "finished parts are kept (fewer --jobs or --chunk-rows need less memory)"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _asked(pool: ProcessPoolExecutor, work: Work, chunk: _Chunk) -> Future[Tally]:
    tally = work.parts.tally(chunk.number)
    if tally is None or tally.rows != chunk.batch.num_rows:
        return pool.submit(_do, chunk)
    done: Future[Tally] = Future()
    done.set_result(tally)
    return done


def _finished(waiting: deque[tuple[int, Future[Tally]]]) -> tuple[int, Tally]:
    number, future = waiting.popleft()
    return number, future.result()


_HERE: list[_Worker] = []
"""Of a process that works: set once, when it starts."""


def _begin(work: Work) -> None:
    """Ctrl-C is for the process that was started by hand; when that one dies this one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    pa.set_cpu_count(1)
    _HERE.append(_Worker(work))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(chunk: _Chunk) -> Tally:
    return _HERE[0].do(chunk)
