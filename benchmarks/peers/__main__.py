"""Our service beside what a user would pick instead, asked in turn by wrk: rows a second, latency,
start, memory.

Each server has one worker on one core, wrk has the other core. All peers serve one
HistGradientBoostingRegressor of scikit-learn, and answer with a value. Ours is trained with
`python train_model.py` on the same table, answers with a value, an interval and an id, and keeps
records: on disk before the reply (ours-durable), after it (ours-buffered), or none (ours-off).

A is FastAPI with our service's types of bodies and replies, and a constant in place of the model.
"bare" is ASGI on uvicorn without a framework, and does not look at the body. "tutorial" is FastAPI
with pydantic, a DataFrame and the estimator. The best peer is the quickest of tutorial and the
installed frameworks.

Requests come one after the other from files of up to 400,000 different rows. Every server's answers
are checked first; a reply that is not 200 ends the run. Ratios are paired by round. CPU is what all
processes of a server used: while others use the machine too, compare that.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gate import KING_COUNTY
from benchmarks.peers.bars import bars
from benchmarks.peers.cases import CASES
from benchmarks.peers.frameworks import FRAMEWORKS
from benchmarks.peers.install import NotInstalledError, default_cache, install
from benchmarks.peers.lineup import SERVERS, Place, Server
from benchmarks.peers.load import what_is_missing
from benchmarks.peers.measuring import Bench, Plan
from benchmarks.peers.report import write
from benchmarks.peers.results import Results
from benchmarks.peers.rows import open_market
from benchmarks.peers.training import train_ours

_FULL = Plan(rounds=5, seconds=3, starts=3, is_quick=False)
_QUICK = Plan(rounds=1, seconds=1, starts=1, is_quick=True)


def main(words: Sequence[str] | None = None) -> int:
    options = _parse(words)
    if (missing := what_is_missing(may_install=not options.quick)) is not None:
        print(f"skipped: {missing}")
        return 0 if options.quick else 1
    default = _QUICK if options.quick else _FULL
    plan = Plan(
        options.rounds or default.rounds,
        options.seconds or default.seconds,
        default.starts,
        default.is_quick,
    )
    results = Results()
    servers = _servers(options.only, results, options.cache, may_install=not options.quick)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data if options.data.exists() else None
        place = Place(Path(folder), train_ours(data, options.cache), options.cache)
        bench = Bench(open_market(data, place.models), place, plan)
        bench.measure(servers, CASES, results)
        if options.workers:
            bench.compare_workers(results)
        kept = bars(results)
        print(write(results, kept, plan, source=bench.market.table.source, out=options.out))
    return 1 if options.check and any(bar.is_kept is False for bar in kept) else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.peers --only ours-durable,A,mlserver --rounds 3 "
        "--seconds 2",
    )
    parser.add_argument("--only", help=f"of {','.join(SERVERS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a minute; installs nothing")
    parser.add_argument("--rounds", type=int, help="default: 5, quick 1")
    parser.add_argument("--seconds", type=int, help="of a run; default: 3, quick 1")
    parser.add_argument(
        "--workers",
        action=argparse.BooleanOptionalAction,
        help="compare two workers with one; default: unless --only is given",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=KING_COUNTY,
        help="the King County table; without the file, the simulated market",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data/bench"),
        help="folder of the table, the JSON and the picture; default: %(default)s",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        help="folder of the environments; default: $BENCH_CACHE, or ~/.cache/predictive-bench",
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is not kept")
    options = parser.parse_args(words)
    unknown = set((options.only or "A").split(",")) - set(SERVERS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    if options.workers is None:
        options.workers = options.only is None
    return options


def _servers(only: str | None, results: Results, cache: Path, *, may_install: bool) -> list[Server]:
    """Those asked for; a peer that cannot be installed is left out with the reason."""
    wanted = SERVERS if only is None else only.split(",")
    peers = {framework.name: framework for framework in FRAMEWORKS}
    found = []
    for name in wanted:
        try:
            if name in peers:
                install(peers[name], cache, may_install=may_install)
        except NotInstalledError as error:
            results.left_out[name] = str(error)
        else:
            found.append(SERVERS[name])
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    sys.exit(main())
