"""Pages with a picture: one HTML file that needs nothing else. The server never comes here."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from engine.domain.schema import POSITIVE, Matrix, Target
from engine.watching.comparison import Comparison
from engine.watching.sequence import Difference

MOST_POINTS = 5_000
COLOURS = {"recorded": "#7a8793", "computed": "#1b6ca8"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd}}
img{{max-width:100%}}</style>
<h1>{title}</h1>
<p>{facts}</p>
<table>{rows}</table>
{image}
</html>
"""
Rows = Sequence[Sequence[str]]


def write_page(path: Path, title: str, facts: str, *, table: Rows, figure: Figure) -> None:
    """One sentence, what it is about, a table whose first row is its head, and a picture."""
    head, *body = table
    rows = [row_of("th", head), *(row_of("td", row) for row in body)]
    page = PAGE.format(
        title=escape(title), facts=escape(facts), rows="".join(rows), image=as_image(figure)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def row_of(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def as_image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="what the table says, drawn" src="data:image/png;base64,{data}">'


class Thinned:
    """At most MOST_POINTS rows of a stream of any length, evenly spaced."""

    def __init__(self, columns: int) -> None:
        self.rows: Matrix = np.empty((0, columns))
        self._every = 1
        self._seen = 0

    def add(self, rows: Matrix) -> None:
        numbers = np.arange(self._seen, self._seen + len(rows))
        self._seen += len(rows)
        self.rows = np.concatenate((self.rows, rows[numbers % self._every == 0]))
        while len(self.rows) > MOST_POINTS:
            self.rows = self.rows[::2]
            self._every *= 2


def draw_replay(recorded: Matrix, computed: Matrix, target: Target) -> Figure:
    """Values against each other, and how wide the intervals are; (n, 3) value, lower, upper."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_values(left, recorded[:, 0], computed[:, 0], target)
    draw_widths(right, recorded, computed, target)
    return figure


def draw_values(axes: Any, recorded: Any, computed: Any, target: Target) -> None:
    lowest, highest = min(recorded.min(), computed.min()), max(recorded.max(), computed.max())
    axes.plot([lowest, highest], [lowest, highest], color=COLOURS["recorded"], linewidth=1)
    axes.plot(recorded, computed, ".", color=COLOURS["computed"], markersize=3, alpha=0.5)
    if target.kind == POSITIVE:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_title(f"values, {target.unit}; {len(recorded):,} points")
    axes.set_xlabel("recorded")
    axes.set_ylabel("computed now")


def draw_widths(axes: Any, recorded: Matrix, computed: Matrix, target: Target) -> None:
    """Beside its value where that is a positive quantity, else as wide as it is."""
    is_share = target.kind == POSITIVE
    widths = {
        name: (rows[:, 2] - rows[:, 1]) / (rows[:, 0] if is_share else 1.0)
        for name, rows in (("recorded", recorded), ("computed", computed))
    }
    widest = float(np.quantile(np.concatenate([*widths.values()]), 0.995))
    bins = np.linspace(0, widest or 1.0, 60)
    axes.hist(widths["recorded"], bins, color=COLOURS["recorded"], alpha=0.5, label="recorded")
    axes.hist(widths["computed"], bins, color=COLOURS["computed"], histtype="step", label="now")
    axes.set_title("width of the interval" + (" / value" if is_share else f", {target.unit}"))
    axes.set_ylabel("points")
    axes.legend()


def draw_comparisons(comparisons: Sequence[Comparison]) -> Figure:
    """Every variant's accuracy and coverage beside the champion's, with bounds, and who asked."""
    figure = Figure(figsize=(11, 2.2 + 0.6 * len(comparisons)), layout="constrained")
    gains, gaps, counts = figure.subplots(1, 3)
    names = [f"{found.version} ({found.mode})" for found in comparisons]
    places = np.arange(len(comparisons))
    draw_bounds(gains, places, [found.improvement for found in comparisons], "computed")
    gains.set_title(f"{comparisons[0].judged_by} lower by, %\n(right of 0: better)")
    draw_bounds(gaps, places - 0.1, [f.champion.coverage_gap for f in comparisons], "recorded")
    draw_bounds(gaps, places + 0.1, [f.variant.coverage_gap for f in comparisons], "computed")
    gaps.set_title("coverage less what is claimed, points\n(grey: champion)")
    counts.barh(places, [found.variant.units for found in comparisons], color="#c9d6df")
    counts.barh(places, [found.variant.outcomes for found in comparisons], color="#1b6ca8")
    counts.set_title("units asked about\n(blue: outcomes known)")
    for axes in (gains, gaps, counts):
        axes.set_yticks(places, names if axes is gains else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
    return figure


def draw_bounds(axes: Any, places: Any, found: Sequence[Difference | None], colour: str) -> None:
    """Estimates in percent, each with the line its bounds span; nothing where nothing is known."""
    axes.axvline(0, color="black", linewidth=1)
    for place, one in zip(places, found, strict=True):
        if one is not None:
            axes.plot([100 * one.low, 100 * one.high], [place, place], color=COLOURS[colour])
            axes.plot(100 * one.estimate, place, "o", color=COLOURS[colour])
