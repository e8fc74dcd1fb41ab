"""Starts the servers, checks what they answer, and asks them in turn, round after round."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import monotonic, sleep

import numpy as np

from benchmarks.peers.cases import WORKER_CASES, Case
from benchmarks.peers.lineup import Place, Role, Server, ours
from benchmarks.peers.load import NoAnswerError, ask, probe_ms
from benchmarks.peers.processes import Running, get, post, start
from benchmarks.peers.results import Results, Sample, Start
from benchmarks.peers.rows import Market, write_bodies
from cli.server import free_port

_REST_SECONDS = 1.0
_WRITE_SECONDS = 60
_CHECKS = 5
_NEAR = 0.25
"""Our own model may differ from the peers' by this share, in the median."""
_STRIDE = 7_919
"""Each round begins with other bodies."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    starts: int
    is_quick: bool


@dataclass(frozen=True, eq=False)
class Bench:
    """Where pinned, the servers share one core and wrk has another one."""

    market: Market
    place: Place
    plan: Plan
    is_pinned: bool = True

    def measure(self, servers: Sequence[Server], cases: Sequence[Case], results: Results) -> None:
        """Adds what was measured to the results as it goes."""
        with ExitStack() as stack:
            running = self._start_all(servers, stack, results)
            for sample in self._rounds(running, cases):
                results.samples.append(sample)
            for server, process in running.items():
                before = results.starts[server.name]
                results.starts[server.name] = replace(before, loaded_mb=process.memory_mb())

    def compare_workers(self, results: Results) -> None:
        """One worker and two on all cores, which wrk shares with them."""
        unpinned = replace(self, is_pinned=False)
        with ExitStack() as stack:
            running = {}
            for server in (ours(records, n) for records in RECORDS for n in (1, 2)):
                process, _ = unpinned._start(server)
                stack.callback(process.stop)
                process.pause()
                running[server] = process
            results.workers.extend(unpinned._rounds(running, WORKER_CASES))

    def _start_all(
        self, servers: Sequence[Server], stack: ExitStack, results: Results
    ) -> dict[Server, Running]:
        """Each has answered and sleeps; a peer that cannot start is left out with the reason."""
        running = {}
        for server in servers:
            _say(f"starting {server.name}")
            try:
                found, results.starts[server.name] = self._start_often(server)
            except RuntimeError as error:
                if server.role is not Role.RIVAL:
                    raise
                results.left_out[server.name] = f"it did not start: {error}"
                continue
            stack.callback(found.stop)
            running[server] = found
        return running

    def _start_often(self, server: Server) -> tuple[Running, Start]:
        """Peers take long and are started once."""
        found, took = self._start(server)
        seconds = [took]
        while len(seconds) < self.plan.starts and server.role is not Role.RIVAL:
            found.stop()
            found, took = self._start(server)
            seconds.append(took)
        sleep(_REST_SECONDS)
        memory = found.memory_mb()
        found.pause()
        return found, Start(seconds, memory)

    def _start(self, server: Server) -> tuple[Running, float]:
        """The server, and the seconds to its first answer."""
        face = server.faces["rows"]
        body = face.body_of(self.market.draw(1, np.random.default_rng()))
        port = free_port()
        core = self._cores[0] if self.is_pinned else None
        found = start(server.command(self.place, port), port, core)
        try:
            return found, found.first_answer_seconds(face.path(1), body)
        except BaseException:
            found.stop()
            raise

    def _rounds(self, running: dict[Server, Running], cases: Sequence[Case]) -> Iterator[Sample]:
        """Every server in turn while the others sleep, in every other round from the last on."""
        asked = [(s, c) for c in cases for s in running if c.layout in s.faces]
        for server, case in asked:
            with _awake(running[server]):
                self._check(server, running[server], case, times=_CHECKS)
        for number in range(self.plan.rounds):
            for server, case in asked if number % 2 == 0 else reversed(asked):
                try:
                    with _awake(running[server]):
                        self._check(server, running[server], case, times=1)
                        sample = self._sample(server, running[server], case, number=number)
                except NoAnswerError as error:
                    if server.role is not Role.RIVAL:
                        raise
                    _say(f"round {number + 1}, {case.name}: {server.name}: {error}")
                    continue
                _say(_line_of(sample))
                yield sample

    def _check(self, server: Server, running: Running, case: Case, *, times: int) -> None:
        """Raises ValueError or AssertionError where an answer is not what it should be."""
        face = server.faces[case.layout]
        rng = np.random.default_rng(case.rows)
        for _ in range(times):
            rows = self.market.draw(case.rows, rng)
            reply = post(running.port, face.path(case.rows), face.body_of(rows))
            values = np.array(face.values(reply), float)
            if values.shape != (case.rows,) or not np.isfinite(values).all():
                raise ValueError(f"{server.name}: {values.shape} answers to {case.rows} rows")
            _check_values(server, values, self.market.expected(rows))

    def _sample(self, server: Server, running: Running, case: Case, *, number: int) -> Sample:
        face = server.faces[case.layout]
        bodies = write_bodies(self.market, face, case.rows, is_quick=self.plan.is_quick)
        probed = probe_ms(self._cores[0])
        before = running.cpu_seconds()
        run = ask(
            running.url(face.path(case.rows)),
            bodies,
            first=number * _STRIDE,
            connections=case.connections,
            seconds=self.plan.seconds,
            core=self._cores[1] if self.is_pinned else None,
        )
        waited, lost = _write_left(running) if server.role is Role.OURS else (0, 0)
        cpu = running.cpu_seconds() - before
        return Sample(number, server.name, case, run, cpu, probed, waited, lost)

    @property
    def _cores(self) -> list[int]:
        return sorted(os.sched_getaffinity(0))[:2]


RECORDS = ("durable", "buffered")
"""The settings of records whose workers are compared."""


def _check_values(server: Server, values: np.ndarray, expected: np.ndarray) -> None:
    """A peer's are the estimator's; ours is another model of the same table; a floor has none."""
    if server.role is Role.RIVAL:
        np.testing.assert_allclose(values, expected, rtol=1e-5, err_msg=server.name)
    elif server.role is Role.OURS and len(values) > 1:
        off = float(np.median(np.abs(values / expected - 1)))
        if off > _NEAR:
            raise ValueError(f"{server.name}: its prices are {off:.0%} away from the peers'")


def _write_left(running: Running) -> tuple[int, int]:
    """Wait until no record waits, so that a run pays for what it left to be written later, and the
    next run does not: how many rows waited, and how many were lost since the start."""
    deadline = monotonic() + _WRITE_SECONDS
    records = get(running.port, "/health")["records"]
    waited = int(records["waiting"])
    while records["waiting"]:
        if monotonic() > deadline:
            raise RuntimeError(f"records still wait after {_WRITE_SECONDS} s: {records}")
        sleep(0.02)
        records = get(running.port, "/health")["records"]
    return waited, int(records["dropped"])


@contextmanager
def _awake(running: Running) -> Iterator[None]:
    running.resume()
    try:
        yield
    finally:
        running.pause()


def _line_of(sample: Sample) -> str:
    return (
        f"round {sample.round + 1}, {sample.case.name}: {sample.server} "
        f"{sample.rows_per_second:,.0f} rows/s, p50 {sample.run.p50_ms:.2f} ms, "
        f"p99 {sample.run.p99_ms:.2f} ms, CPU {sample.cpu_us:,.0f} us a request"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
