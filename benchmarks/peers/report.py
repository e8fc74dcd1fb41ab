"""The results as Markdown, as JSON and as a picture."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.peers.bars import Bar
from benchmarks.peers.cases import WORKER_CASES, Case
from benchmarks.peers.lineup import SERVERS, Role, ours
from benchmarks.peers.measuring import RECORDS, Plan
from benchmarks.peers.results import Line, Results

_BUSY = 2
"""The fixed loop may take this many times as long at its slowest as at its quickest."""
_COLOURS = {Role.OURS: "tab:blue", Role.FLOOR: "tab:gray", Role.RIVAL: "tab:orange"}


def write(results: Results, bars: Sequence[Bar], plan: Plan, *, source: str, out: Path) -> str:
    """Writes peers.md, peers.json and peers.png; the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    about = _about(results, plan, source)
    text = "\n".join(_page(results, bars, about)) + "\n"
    (out / "peers.md").write_text(text)
    kept = [{"bar": bar.name, "figure": bar.figure, "kept": bar.is_kept} for bar in bars]
    document = {"about": about, **results.as_json(), "bars": kept}
    (out / "peers.json").write_text(json.dumps(document, indent=1) + "\n")
    _draw(results).savefig(out / "peers.png", dpi=110)
    return text


def _about(results: Results, plan: Plan, source: str) -> dict[str, Any]:
    probes = sorted(sample.probe_ms for sample in results.samples)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "table": source,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "probe_ms": {"lowest": probes[0], "median": median(probes), "highest": probes[-1]},
    }


def _page(results: Results, bars: Sequence[Bar], about: dict[str, Any]) -> Iterator[str]:
    probe = about["probe_ms"]
    yield (
        f"{about['at'][:10]}, {about['cores']} cores, {about['table']}; medians of "
        f"{about['rounds']} rounds of {about['seconds']} s. A fixed loop took "
        f"{probe['lowest']:.1f} to {probe['highest']:.1f} ms (median {probe['median']:.1f})."
    )
    if probe["highest"] > _BUSY * probe["lowest"]:
        yield (
            "\nThe machine was busy with other things, which slows a server of one thread down the "
            "most: compare the CPU."
        )
    for case in results.cases():
        lines = results.lines(case)
        yield f"\n{case.name[0].upper()}{case.name[1:]}:\n"
        yield from _table(
            (
                "server",
                "rows/s",
                "lowest to highest",
                "/ A",
                "/ best peer",
                "p50, ms",
                "p99, ms",
                "CPU, µs a request",
            ),
            [_cells(line) for line in lines],
        )
    for case in results.cases():
        for line in results.lines(case):
            if line.rounds < about["rounds"]:
                told = f"{line.rounds} of {about['rounds']} rounds"
                yield f"\n{line.server}, {case.name}: answered at all only in {told}."
    for name in results.starts:
        if waited := results.waited(name):
            yield f"\n{name}: when a run ended, up to {waited:,} records were not written yet."
    yield "\nStart and memory:\n"
    yield from _starts(results)
    if results.workers:
        yield "\nTwo workers beside one; wrk shares the cores with them:\n"
        yield from _workers(results)
    for name, reason in results.left_out.items():
        yield f"\n{name} is left out: {reason}"
    yield "\nBars:\n"
    yield from (f"- {bar}" for bar in bars)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _cells(line: Line) -> list[str]:
    spread = f"{line.lowest:,.0f} to {line.highest:,.0f}"
    ratios = [_ratio(line.ratio_to_a), _ratio(line.ratio_to_best_peer)]
    name = f"**{line.server}**" if SERVERS[line.server].role is Role.OURS else line.server
    latencies = [f"{line.p50_ms:.2f}", f"{line.p99_ms:.2f}", f"{line.cpu_us:,.0f}"]
    return [name, f"{line.rows_per_second:,.0f}", spread, *ratios, *latencies]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _starts(results: Results) -> Iterator[str]:
    head = ("server", "first answer after, s", "at rest, MB", "after the load, MB")
    rows = [
        [name, f"{median(one.seconds):.2f}", f"{one.memory_mb:.0f}", f"{one.loaded_mb or 0:.0f}"]
        for name, one in results.starts.items()
    ]
    yield from _table(head, rows)


def _workers(results: Results) -> Iterator[str]:
    head = (
        "records",
        "case",
        "one worker, rows/s",
        "two, rows/s",
        "ratio",
        "cores of wrk beside two",
    )
    yield from _table(
        head,
        [_worker_cells(results, records, case) for records in RECORDS for case in WORKER_CASES],
    )


def _worker_cells(results: Results, records: str, case: Case) -> list[str]:
    names = [ours(records, workers).name for workers in (1, 2)]
    one, two = ([s for s in results.workers if (s.server, s.case) == (n, case)] for n in names)
    speeds = [f"{median(s.rows_per_second for s in samples):,.0f}" for samples in (one, two)]
    cores = f"{median(sample.run.wrk_cores for sample in two):.2f}"
    return [
        records,
        case.name,
        *speeds,
        _ratio(results.worker_ratio(names[0], names[1], case)),
        cores,
    ]


def _draw(results: Results) -> Figure:
    """A panel for each case, a bar for each server, on a logarithmic scale."""
    cases = results.cases()
    figure = Figure(figsize=(11, 3.6 * ((len(cases) + 1) // 2)), layout="constrained")
    for number, case in enumerate(cases):
        axes = figure.add_subplot((len(cases) + 1) // 2, 2, number + 1)
        lines = results.lines(case)[::-1]
        speeds = [line.rows_per_second for line in lines]
        colours = [_COLOURS[SERVERS[line.server].role] for line in lines]
        drawn = axes.barh([line.server for line in lines], speeds, color=colours)
        axes.bar_label(drawn, [f"{speed:,.0f}" for speed in speeds], padding=2, fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(min(speeds) / 2, max(speeds) * 4)
        axes.set_title(f"{case.name}: rows a second", fontsize=10)
    return figure
