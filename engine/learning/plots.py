"""What the pages show: whether intervals cover, whether probabilities hold, and by how much."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from engine.domain.loss import LOSS
from engine.domain.prediction import Interval
from engine.domain.schema import POSITIVE, Vector
from engine.learning.evaluate import covered, slice_coverage
from engine.learning.probability import CHANCE, bins, by_chance

Sides = Mapping[str, tuple[Vector, Interval]]
"""A model's name to its values and interval for the same n rows."""
Chances = Mapping[str, tuple[Vector, int]]
"""A model's name to its probabilities for the same n rows, and how many rows calibrated them."""

COLOURS = {"champion": "#7a8793", "challenger": "#1b6ca8", "the model": "#1b6ca8"}
SHOWN_ROWS = 2_000


def as_image(figure: Figure, words: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{words}" src="data:image/png;base64,{data}">'


def pair() -> tuple[Figure, Any, Any]:
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def draw_gain(axes: Any, gain: Vector, kind: str) -> None:
    """How much lower the challenger's loss is on each row, (n,); its mean decides."""
    widest = float(np.quantile(np.abs(gain), 0.99)) or 1.0
    axes.hist(gain.clip(-widest, widest), bins=60, color=COLOURS["challenger"], alpha=0.8)
    axes.axvline(gain.mean(), color="#c0392b", label=f"mean {gain.mean():+.4g}")
    axes.axvline(0, color="black", linestyle="--", linewidth=1, label="0, neither is closer")
    axes.set_title(f"{LOSS[kind]}: champion - challenger, {len(gain):,} rows")
    axes.set_xlabel("right of 0: the challenger is closer")
    axes.legend()


def draw_coverage(axes: Any, sides: Sides, truth: Vector, sliced: Mapping[str, Vector]) -> None:
    """Coverage in each slice, with the spread that chance alone gives a slice of its size."""
    level = 0.0
    for offset, (name, (_, interval)) in enumerate(sides.items()):
        level = interval.confidence
        shares = slice_coverage(covered(interval, truth), sliced)
        places = np.arange(len(shares)) + 0.25 * offset
        axes.plot(list(shares.values()), places, "o", color=COLOURS[name], label=name)
        axes.set_yticks(np.arange(len(shares)), list(shares))
    chance = 2 * (level * (1 - level) / max(len(truth) / 5, 1)) ** 0.5
    axes.axvspan(level - chance, level + chance, color="#cccccc", alpha=0.5)
    axes.set_title(f"coverage of {level:.0%} intervals by slice (grey: chance)")
    axes.legend()


def draw_reliability(axes: Any, sides: Chances, truth: Vector) -> None:
    """What was said against what happened, by bins of like probability; a bar is where CHANCE of
    such bins would lie, did the probabilities hold."""
    top = 0.0
    for name, (values, calibration_rows) in sides.items():
        found = list(bins(values, truth))
        said, happened = zip(*((one.said, one.happened) for one in found), strict=True)
        low, high = by_chance(found, calibration_rows)
        axes.vlines(said, low, high, color=COLOURS[name], linewidth=5, alpha=0.3)
        axes.plot(said, happened, "o", color=COLOURS[name], label=name)
        top = max(top, *happened, *high)
    axes.plot([0, top], [0, top], color="black", linewidth=1)
    axes.set_xlabel("probability that was said, mean of a bin")
    axes.set_ylabel("share of rows where it happened")
    axes.set_title(f"reliability, {len(truth):,} rows (bars: {CHANCE:.0%} by chance)")
    axes.legend()


def draw_probabilities(axes: Any, values: Vector, truth: Vector) -> None:
    """How the probabilities are spread over the rows, and the share of rows where it happened."""
    axes.hist(values, bins=40, range=(0, 1), color=COLOURS["challenger"], alpha=0.8)
    axes.axvline(truth.mean(), color="#c0392b", label=f"it happened: {truth.mean():.1%}")
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("rows")
    axes.set_title("how the probabilities are spread")
    axes.legend()


def draw_predictions(axes: Any, values: Vector, truth: Vector, kind: str) -> None:
    """The truth of some rows against what was predicted."""
    some = np.linspace(0, len(truth) - 1, min(len(truth), SHOWN_ROWS)).astype(int)
    axes.plot(values[some], truth[some], ".", color=COLOURS["challenger"], alpha=0.3)
    ends = [truth[some].min(), truth[some].max()]
    axes.plot(ends, ends, color="black", linewidth=1)
    if kind == POSITIVE:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(f"predictions and truths, {len(some):,} rows")
