"""What the service promises about its speed, each promise as a figure beside its bar."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.cases import HUNDRED, ONE_ALONE, ONE_OF_MANY, THOUSAND, Case
from benchmarks.peers.lineup import ours
from benchmarks.peers.results import YARDSTICK, Line, Results

_DURABLE, _BUFFERED = "ours-durable", "ours-buffered"


@dataclass(frozen=True)
class Bar:
    """`figure` is None where it was not measured."""

    name: str
    figure: float | None
    bound: float
    is_least: bool

    @property
    def is_kept(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure >= self.bound if self.is_least else self.figure <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.is_least else "<="
        said = {True: "yes", False: "no", None: "not measured"}[self.is_kept]
        figure = "" if self.figure is None else f" ({self.figure:,.2f})"
        return f"{said}{figure}: {self.name} {sign} {self.bound:g}"


def bars(results: Results) -> list[Bar]:
    return [*_speeds(results), *_latencies(results), *_starts(results)]


def _speeds(results: Results) -> Iterator[Bar]:
    for server, bound in ((_DURABLE, 1.1), (_BUFFERED, 1.2)):
        one = results.line(server, ONE_OF_MANY)
        yield Bar(f"{ONE_OF_MANY.name}: {server} / A", one.ratio_to_a if one else None, bound, True)
    for server in (_DURABLE, _BUFFERED):
        one = results.line(server, ONE_OF_MANY)
        name = f"{ONE_OF_MANY.name}: {server} / best peer"
        yield Bar(name, one.ratio_to_best_peer if one else None, 10, True)
    for case in (HUNDRED, THOUSAND):
        many = results.line(_DURABLE, case)
        name = f"{case.name}: {_DURABLE} / best peer"
        yield Bar(name, many.ratio_to_best_peer if many else None, 1.3, True)
    ratio = results.worker_ratio(ours("durable").name, ours("durable", 2).name, ONE_OF_MANY)
    yield Bar(f"{ONE_OF_MANY.name}: two workers / one, {_DURABLE}", ratio, 1.8, True)


def _latencies(results: Results) -> Iterator[Bar]:
    for server, bound in ((_BUFFERED, 1.5), (_DURABLE, 2.2)):
        figure = _beside_a(results, server, ONE_ALONE, of=lambda line: line.p50_ms)
        yield Bar(f"{ONE_ALONE.name}: p50 of {server} / A", figure, bound, False)
    for server in (_BUFFERED, _DURABLE):
        figure = _beside_a(results, server, ONE_ALONE, of=lambda line: line.p99_ms)
        yield Bar(f"{ONE_ALONE.name}: p99 of {server} / A", figure, 2, False)


def _beside_a(
    results: Results, server: str, case: Case, *, of: Callable[[Line], float]
) -> float | None:
    one, other = results.line(server, case), results.line(YARDSTICK, case)
    return of(one) / of(other) if one and other else None


def _starts(results: Results) -> Iterator[Bar]:
    found = results.starts.get(_DURABLE)
    seconds = median(found.seconds) if found else None
    for server in (_DURABLE, _BUFFERED):
        yield Bar(f"records that {server} lost", results.lost(server), 0, False)
    memory = found.memory_mb if found else None
    yield Bar("seconds from the start to the first answer", seconds, 1.0, False)
    yield Bar("MB of one worker at rest", memory, 130, False)
