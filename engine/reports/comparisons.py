"""What the pages of a comparison and of a replay show. The server never imports this file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain.schema import Matrix, Target
from engine.reports import page as pages
from engine.reports.page import grid, picture, pictures
from engine.watching.comparison import Comparison
from engine.watching.sequence import Difference

MOST_POINTS = 5_000
_COLOURS = {"recorded": "#7a8793", "computed": "#1b6ca8"}
_WORDS = "what the table says, drawn"
_Rows = Sequence[Sequence[str]]


def write_page(path: Path, title: str, facts: str, *, table: _Rows, drawn: str) -> None:
    """One sentence, what it is about, a table whose first row is its head, and pictures."""
    head, *body = table
    pages.write_page(
        path, title=title, heading=title, sentences=(facts,), body=grid(head, body) + drawn
    )


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


def draw_replay(recorded: Matrix, computed: Matrix, target: Target) -> str:
    """Values against each other, and how wide the intervals are; (n, 3) value, lower, upper."""
    draws = (_draw_values, _draw_widths)
    facts: dict[str, Any] = {"recorded": recorded, "computed": computed, "target": target}
    return pictures(_WORDS, *(picture(partial(draw, **facts)) for draw in draws))


def _draw_values(axes: Any, recorded: Matrix, computed: Matrix, *, target: Target) -> None:
    recorded, computed = recorded[:, 0], computed[:, 0]
    lowest, highest = min(recorded.min(), computed.min()), max(recorded.max(), computed.max())
    axes.plot([lowest, highest], [lowest, highest], color=_COLOURS["recorded"], linewidth=1)
    axes.plot(recorded, computed, ".", color=_COLOURS["computed"], markersize=3, alpha=0.5)
    if target.kind.measure.is_log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_title(f"Values, {target.unit}; {len(recorded):,} points")
    axes.set_xlabel("recorded")
    axes.set_ylabel("computed now")


def _draw_widths(axes: Any, recorded: Matrix, computed: Matrix, *, target: Target) -> None:
    """Beside its value where that is a positive quantity, else as wide as it is."""
    measure = target.kind.measure
    widths = {
        name: measure.widths(rows[:, 1], rows[:, 2], rows[:, 0])
        for name, rows in (("recorded", recorded), ("computed", computed))
    }
    widest = float(np.quantile(np.concatenate([*widths.values()]), 0.995))
    bins = np.linspace(0, widest or 1.0, 60)
    axes.hist(widths["recorded"], bins, color=_COLOURS["recorded"], alpha=0.5, label="recorded")
    axes.hist(widths["computed"], bins, color=_COLOURS["computed"], histtype="step", label="now")
    axes.set_title("Width of the interval" + (" / value" if measure.is_log else f", {target.unit}"))
    axes.set_ylabel("points")


def draw_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Every variant's accuracy and coverage beside the champion's, with bounds, as far as they are
    known, and who was asked."""
    draws: list[Callable[..., None]] = [_draw_units]
    if any(found.variant.coverage_gap for found in comparisons):
        draws.insert(0, _draw_gaps)
    if any(found.improvement for found in comparisons):
        draws.insert(0, _draw_gains)
    height = 1.2 + 0.6 * len(comparisons)
    drawn = (picture(partial(draw, comparisons=comparisons), height) for draw in draws)
    return pictures(_WORDS, *drawn)


def _draw_units(axes: Any, comparisons: Sequence[Comparison]) -> None:
    places = _name_places(axes, comparisons)
    axes.barh(places, [found.variant.units for found in comparisons], color="#c9d6df")
    axes.barh(places, [found.variant.outcomes for found in comparisons], color="#1b6ca8")
    axes.set_title("Units that were asked about. Blue: their outcomes are known")


def _draw_gains(axes: Any, comparisons: Sequence[Comparison]) -> None:
    places = _name_places(axes, comparisons)
    _draw_bounds(axes, places, [found.improvement for found in comparisons], colour="computed")
    axes.set_title(f"{comparisons[0].judged_by} lower by, %. Right of 0: better")


def _draw_gaps(axes: Any, comparisons: Sequence[Comparison]) -> None:
    places = _name_places(axes, comparisons)
    _draw_bounds(
        axes, places - 0.1, [one.champion.coverage_gap for one in comparisons], colour="recorded"
    )
    _draw_bounds(
        axes, places + 0.1, [one.variant.coverage_gap for one in comparisons], colour="computed"
    )
    axes.set_title("Coverage less what is claimed, points. Grey: the champion")


def _name_places(axes: Any, comparisons: Sequence[Comparison]) -> Any:
    """Where each variant stands on the vertical axis, with its name."""
    places = np.arange(len(comparisons))
    axes.set_yticks(places, [f"{found.version}\n{found.mode}" for found in comparisons])
    axes.set_ylim(len(places) - 0.5, -0.5)
    return places


def _draw_bounds(
    axes: Any, places: Any, found: Sequence[Difference | None], *, colour: str
) -> None:
    """Estimates in percent, each with the line its bounds span; nothing where nothing is known."""
    axes.axvline(0, color="black", linewidth=1)
    for place, one in zip(places, found, strict=True):
        if one is not None:
            axes.plot([100 * one.low, 100 * one.high], [place, place], color=_COLOURS[colour])
            axes.plot(100 * one.estimate, place, "o", color=_COLOURS[colour])
