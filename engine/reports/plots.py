"""What the pages show: whether intervals cover, whether probabilities hold, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from engine.domain.prediction import Interval
from engine.domain.schema import Vector
from engine.judging.intervals import covered, slices
from engine.judging.probabilities import CHANCE, bins, by_chance

_Chances = Mapping[str, tuple[Vector, int]]
"""A model's name to its probabilities for the same n rows, and how many rows calibrated them."""

_COLOURS = {"champion": "#7a8793", "challenger": "#1b6ca8", "the model": "#1b6ca8"}
_SHOWN_ROWS = 2_000
_LONGEST_LABEL = 20
_ALL = "all rows"


def draw_gain(axes: Any, gain: Vector, loss_name: str) -> None:
    """How much lower the challenger's loss is on each row, (n,); its mean decides."""
    widest = float(np.quantile(np.abs(gain), 0.99)) or 1.0
    axes.hist(gain.clip(-widest, widest), bins=60, color=_COLOURS["challenger"], alpha=0.8)
    axes.axvline(gain.mean(), color="#c0392b", label=f"mean {gain.mean():+.4g}")
    axes.axvline(0, color="black", linestyle="--", linewidth=1, label="0, neither is closer")
    axes.set_title(f"{loss_name}: champion less challenger, {len(gain):,} rows")
    axes.set_xlabel("right of 0: the challenger is closer")


@dataclass(frozen=True)
class _Coverage:
    """For all rows and for each slice: how many rows, and the share of truths each model covers."""

    level: float
    rows: Mapping[str, int]
    shares: Mapping[str, list[float]]
    """A model's name to one share a part, in the order of `rows`."""


def coverage(
    sides: Mapping[str, Interval], truth: Vector, sliced: Mapping[str, Vector]
) -> _Coverage:
    """Of one interval a model for the same n rows; `sliced` maps a name to (n,) values."""
    parts = {_ALL: np.full(len(truth), True), **slices(sliced)}
    hits = {name: covered(interval, truth) for name, interval in sides.items()}
    return _Coverage(
        level=next(iter(sides.values())).confidence,
        rows={part: int(rows.sum()) for part, rows in parts.items()},
        shares={
            name: [float(hit[rows].mean()) for rows in parts.values()] for name, hit in hits.items()
        },
    )


def height_of(found: _Coverage) -> float:
    """In inches: a line of text each."""
    return 1.1 + 0.28 * len(found.rows)


def draw_coverage(axes: Any, found: _Coverage) -> None:
    """Coverage in each part, on a bar in which chance alone leaves 95 % of parts of its size."""
    places = np.arange(len(found.rows))
    spread = 2 * np.sqrt(found.level * (1 - found.level) / np.array([*found.rows.values()]))
    low, high = found.level - spread, np.minimum(found.level + spread, 1)
    axes.hlines(places, low, high, color="#cccccc", linewidth=9)
    axes.axvline(found.level, color="black", linewidth=1)
    for offset, (name, shares) in enumerate(found.shares.items()):
        axes.plot(shares, places + 0.2 * offset, "o", color=_COLOURS[name], label=name)
    axes.set_yticks(places, [_shortened(name) for name in found.rows])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    slices_too = (
        ", and of each fifth of them by a column, from its lowest values (1) to its highest"
    )
    none_of = f"; a fifth of {found.rows[_ALL]:,} is too few to judge by"
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(
        f"Coverage of {found.level:.0%} intervals: of all rows"
        f"{slices_too if len(places) > 1 else none_of}. Grey: where chance alone puts nearly all"
    )


def _shortened(name: str) -> str:
    """`square_feet, quintile 1` as a label that leaves room for the picture."""
    column, comma, part = name.rpartition(", ")
    if len(column) > _LONGEST_LABEL:
        column = f"{column[: _LONGEST_LABEL - 1]}…"
    return f"{column} {part.replace('quintile ', '')}" if comma else name


def draw_reliability(axes: Any, sides: _Chances, truth: Vector) -> None:
    """Mean probability against share of events, by bins of similar probability; a bar holds CHANCE
    of such bins if the probabilities hold."""
    top = 0.0
    for name, (values, calibration_rows) in sides.items():
        found = list(bins(values, truth))
        said, happened = zip(*((one.said, one.happened) for one in found), strict=True)
        low, high = by_chance(found, calibration_rows)
        axes.vlines(said, low, high, color=_COLOURS[name], linewidth=5, alpha=0.3)
        axes.plot(said, happened, "o", color=_COLOURS[name], label=name)
        top = max(top, *happened, *high)
    axes.plot([0, top], [0, top], color="black", linewidth=1)
    axes.set_xlabel("probability that was said, mean of a bin")
    axes.set_ylabel("share of rows where it happened")
    axes.set_title(f"Reliability, {len(truth):,} rows. Bars: {CHANCE:.0%} by chance")


def draw_probabilities(axes: Any, values: Vector, truth: Vector) -> None:
    """How the probabilities are spread over the rows, and the share of rows where it happened."""
    axes.hist(values, bins=40, range=(0, 1), color=_COLOURS["challenger"], alpha=0.8)
    axes.axvline(truth.mean(), color="#c0392b", label=f"it happened: {truth.mean():.1%}")
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("rows")
    axes.set_title("How the probabilities are spread")


def draw_predictions(axes: Any, values: Vector, truth: Vector, *, is_log: bool) -> None:
    """The truth of some rows against what was predicted."""
    some = np.linspace(0, len(truth) - 1, min(len(truth), _SHOWN_ROWS)).astype(int)
    axes.plot(values[some], truth[some], ".", color=_COLOURS["challenger"], alpha=0.3)
    ends = [truth[some].min(), truth[some].max()]
    axes.plot(ends, ends, color="black", linewidth=1)
    if is_log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(f"Predictions and truths, {len(some):,} rows")
