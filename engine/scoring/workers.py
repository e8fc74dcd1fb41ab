"""Processes that answer chunks of a table, one thread each; what they finish comes in order.

Each process has a pipe of its own: when one of the two ends dies the other one sees it, and nobody
waits for ever. (`ProcessPoolExecutor` of Python 3.11 may, where a process dies while a chunk is
written to the queue that all share.)
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pyarrow as pa

from engine.domain.errors import UnusableTable
from engine.domain.ports import Records
from engine.scoring.batch import Scorer, ScoringOrder, Tally
from engine.scoring.parts import Parts
from engine.scoring.recorded import append_batch

_AHEAD = 2
"""Chunks a process may have: one that it answers, and the next one."""


@dataclass(frozen=True)
class Work:
    """What every process knows; `records` opens the records, where answers are to be kept there."""

    order: ScoringOrder
    parts: Parts
    records: Callable[[], Records] | None = None


@dataclass(frozen=True)
class _Chunk:
    number: int
    first: int
    batch: Any


def scored(work: Work, chunks: Iterable[Any], jobs: int) -> Iterator[tuple[int, Tally]]:
    """The numbers of the parts, in order, each when it is finished; those that were finished before
    are not done again. Never are more chunks in memory than the processes need.

    Raises what a process raised, and UnusableTable when one was killed.
    """
    done: dict[int, Tally] = {}
    first = given = told = 0
    with _Processes(work, jobs) as processes:
        for given, batch in enumerate(chunks, start=1):
            found = work.parts.tally(given - 1)
            if found is None or found.rows != batch.num_rows:
                done |= processes.give(_Chunk(given - 1, first, batch))
            else:
                done[given - 1] = found
            first += batch.num_rows
            while told in done:
                yield told, done.pop(told)
                told += 1
        while told < given:
            while told not in done:
                done |= processes.finished()
            yield told, done.pop(told)
            told += 1


class _Processes:
    """`with` ends them, at once where something went wrong."""

    def __init__(self, work: Work, jobs: int) -> None:
        context = get_context("spawn")
        self._places: dict[Connection, int] = {}
        self._running = []
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            self._places[ours] = _AHEAD
            self._running.append(process)

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        for pipe in self._places:
            pipe.close()
        for process in self._running:
            if failed is not None:
                process.terminate()
            process.join()

    def give(self, chunk: _Chunk) -> dict[int, Tally]:
        """Hand a chunk over, as soon as somebody has a place for it; what was finished until
        then."""
        done: dict[int, Tally] = {}
        while not any(self._places.values()):
            done |= self.finished()
        pipe = max(self._places, key=self._places.__getitem__)
        try:
            pipe.send(chunk)
        except OSError as error:
            raise _killed() from error
        self._places[pipe] -= 1
        return done

    def finished(self) -> dict[int, Tally]:
        """Wait for a process, or some; by number what they have finished."""
        done = {}
        for pipe in wait([*self._places]):
            assert isinstance(pipe, Connection)  # noqa: S101
            try:
                number, found = pipe.recv()
            except (EOFError, OSError) as error:
                raise _killed() from error
            if isinstance(found, Exception):
                raise found
            self._places[pipe] += 1
            done[number] = found
        return done


def _killed() -> UnusableTable:
    return UnusableTable(
        "a process that scores was killed, perhaps for want of memory: run the same again, "
        "finished parts are kept (fewer --jobs or --chunk-rows need less memory)"
    )


def _serve(pipe: Connection, work: Work) -> None:
    """What a process does until nobody gives it chunks: it ends with the one that started it, and
    Ctrl-C is for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    waiting: SimpleQueue[_Chunk | None] = SimpleQueue()
    Thread(target=_receive, args=(pipe, waiting), daemon=True).start()
    worker: _Worker | None = None
    while (chunk := waiting.get()) is not None:
        try:
            worker = worker or _Worker(work)
            pipe.send((chunk.number, worker.do(chunk)))
        except BrokenPipeError:
            return
        except Exception as error:
            pipe.send((chunk.number, error))


def _receive(pipe: Connection, waiting: "SimpleQueue[_Chunk | None]") -> None:
    """The next chunk comes while one is answered."""
    try:
        while True:
            waiting.put(pipe.recv())
    except (EOFError, OSError):
        waiting.put(None)


class _Worker:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._scorer = Scorer(work.order)
        self._records = None if work.records is None else work.records()

    def do(self, chunk: _Chunk) -> Tally:
        """A part is finished only when its records are kept: what is done again, is recorded again
        under the same ids."""
        batch, tally = self._scorer.score(chunk.batch, chunk.first)
        if self._records is not None:
            append_batch(self._records, self._work.order, batch, first=chunk.first)
        self._work.parts.keep(chunk.number, batch, tally)
        return tally
