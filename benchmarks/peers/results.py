"""What was measured, and the medians and ratios that are read off it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.peers.cases import Case
from benchmarks.peers.lineup import SERVERS, Role
from benchmarks.peers.load import Run

YARDSTICK = "A"


@dataclass(frozen=True)
class Sample:
    """One run of wrk: `cpu_seconds` of the server, what the fixed loop took just before, and how
    many records still waited when the run ended, and were lost since the server's start."""

    round: int
    server: str
    case: Case
    run: Run
    cpu_seconds: float
    probe_ms: float
    waited: int = 0
    lost: int = 0

    @property
    def rows_per_second(self) -> float:
        return self.run.requests_per_second * self.case.rows

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a request; others on the machine disturb it less than the speed."""
        return 1e6 * self.cpu_seconds / self.run.requests


@dataclass(frozen=True)
class Start:
    """`seconds`: from each start to its first answer. `loaded_mb` is after all rounds."""

    seconds: Sequence[float]
    memory_mb: float
    loaded_mb: float | None = None


@dataclass(frozen=True)
class Line:
    """A server in a case: medians over the rounds, ratios paired by round."""

    server: str
    rows_per_second: float
    lowest: float
    highest: float
    ratio_to_a: float | None
    ratio_to_best_peer: float | None
    p50_ms: float
    p99_ms: float
    cpu_us: float
    rounds: int


@dataclass
class Results:
    """`workers`: the samples of one and of two workers, not pinned to a core."""

    samples: list[Sample] = field(default_factory=list)
    workers: list[Sample] = field(default_factory=list)
    starts: dict[str, Start] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        return list(dict.fromkeys(sample.case for sample in self.samples))

    def lines(self, case: Case) -> list[Line]:
        """The quickest first."""
        names = list(dict.fromkeys(s.server for s in self.samples if s.case == case))
        found = [self._line(name, case) for name in names]
        return sorted(found, key=lambda line: -line.rows_per_second)

    def line(self, server: str, case: Case) -> Line | None:
        return next((one for one in self.lines(case) if one.server == server), None)

    def best_peer(self, case: Case) -> str | None:
        """The quickest server that a user could pick in place of ours, the tutorial's included."""
        rivals = {s.server for s in self.samples if s.case == case and _is_rival(s.server)}
        return max(rivals, key=lambda name: median(self._rates(name, case)), default=None)

    def waited(self, server: str) -> int:
        """The most records that still waited at the end of a run."""
        return max((s.waited for s in self.samples if s.server == server), default=0)

    def lost(self, server: str) -> int | None:
        """Records of the whole run that found no place in the queue."""
        return max((s.lost for s in self.samples if s.server == server), default=None)

    def _line(self, server: str, case: Case) -> Line:
        rates = self._rates(server, case)
        samples = _of(self.samples, server, case)
        return Line(
            server,
            median(rates),
            min(rates),
            max(rates),
            self._ratio(server, YARDSTICK, case),
            self._ratio(server, self.best_peer(case), case),
            median(sample.run.p50_ms for sample in samples),
            median(sample.run.p99_ms for sample in samples),
            median(sample.cpu_us for sample in samples),
            len(samples),
        )

    def _rates(self, server: str, case: Case) -> list[float]:
        return [sample.rows_per_second for sample in _of(self.samples, server, case)]

    def _ratio(self, server: str, other: str | None, case: Case) -> float | None:
        if other is None:
            return None
        return paired_ratio(_of(self.samples, server, case), _of(self.samples, other, case))

    def worker_ratio(self, one: str, two: str, case: Case) -> float | None:
        return paired_ratio(_of(self.workers, two, case), _of(self.workers, one, case))

    def as_json(self) -> dict[str, Any]:
        return {
            "cases": [
                {**asdict(case), "name": case.name, "best_peer": self.best_peer(case)}
                | {"servers": [asdict(line) for line in self.lines(case)]}
                for case in self.cases()
            ],
            "starts": {name: asdict(start) for name, start in self.starts.items()},
            "left_out": self.left_out,
            "samples": [asdict(sample) for sample in self.samples],
            "workers": [asdict(sample) for sample in self.workers],
        }


def paired_ratio(samples: Iterable[Sample], others: Iterable[Sample]) -> float | None:
    """The median over the rounds that both were asked in; a drift of the machine cancels out."""
    rates = {other.round: other.rows_per_second for other in others}
    found = [s.rows_per_second / rates[s.round] for s in samples if s.round in rates]
    return median(found) if found else None


def _of(samples: Iterable[Sample], server: str, case: Case) -> list[Sample]:
    return [sample for sample in samples if (sample.server, sample.case) == (server, case)]


def _is_rival(name: str) -> bool:
    return SERVERS[name].role is Role.RIVAL
