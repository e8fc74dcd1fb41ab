"""How good a model is on rows it has not seen: point errors, coverage, width and slices."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.domain.kinds import POSITIVE, TargetKind
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector
from engine.model.runtime import Predict

_LEVELS = (0.8, 0.9, 0.95)
SLICE_LEVEL = 0.9
_SLICES = 5
SMALLEST_SLICE = 150
"""With fewer rows the coverage of a slice depends more on chance than on the model."""


def evaluate(
    predict: Predict,
    truth: Vector,
    sliced: Mapping[str, Vector],
    *,
    highest_confidence: float,
    kind: TargetKind,
) -> dict[str, float]:
    """Figures for n rows of a quantity; `sliced` maps a name to the (n,) values whose quintiles
    are slices.

    Levels above `highest_confidence` are left out.
    """
    values, interval = predict(SLICE_LEVEL)
    figures = point_errors(values, truth, kind)
    for level in (level for level in _LEVELS if level <= highest_confidence):
        _, at_level = predict(level)
        figures[f"coverage_{100 * level:.0f}"] = float(covered(at_level, truth).mean())
    figures["mean_width_90"] = float((interval.upper - interval.lower).mean())
    figures["winkler_90"] = float(winkler(interval, truth).mean())
    names = {"predicted": values, **sliced}
    figures["worst_slice_coverage_90"] = worst_slice(covered(interval, truth), names)
    return figures


def point_errors(values: Vector, truth: Vector, kind: TargetKind = POSITIVE) -> dict[str, float]:
    """Of predictions and truths, (n,) in the target's unit: R2 (share of variance), RMSE and MAE
    (unit of the target), MAPE (share; for positive quantities only)."""
    errors = values - truth
    figures = {
        "r2": float(1 - (errors**2).sum() / ((truth - truth.mean()) ** 2).sum()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "mae": float(np.abs(errors).mean()),
    }
    if kind.measure.is_log:
        figures["mape"] = float((np.abs(errors) / truth).mean())
    return figures


def covered(interval: Interval, truth: Vector) -> NDArray[np.bool_]:
    return np.asarray((interval.lower <= truth) & (truth <= interval.upper))


def winkler(interval: Interval, truth: Vector) -> Vector:
    """The interval score of each row, (n,) in the target's unit; lower is better.

    Width, plus 2 / (1 - confidence) for every unit by which the truth is missed.
    Source: Gneiting and Raftery, "Strictly proper scoring rules", JASA 102 (2007), section 6.2.
    """
    below = np.maximum(interval.lower - truth, 0)
    above = np.maximum(truth - interval.upper, 0)
    penalty = 2 / (1 - interval.confidence)
    return np.asarray(interval.upper - interval.lower + penalty * (below + above))


def slices(sliced: Mapping[str, Vector]) -> dict[str, NDArray[np.bool_]]:
    """The rows (n,) in each quintile of each quantity, and those where it is missing, where they
    are SMALLEST_SLICE or more."""
    parts = {}
    for name, values in sliced.items():
        gone = np.isnan(values)
        parts[f"{name}, missing"] = gone
        if gone.all():
            continue
        borders = np.nanquantile(values, np.linspace(0, 1, _SLICES + 1)[1:-1])
        part = np.searchsorted(borders, values, side="left")
        for number in range(_SLICES):
            parts[f"{name}, quintile {number + 1}"] = ~gone & (part == number)
    return {name: rows for name, rows in parts.items() if rows.sum() >= SMALLEST_SLICE}


def _slice_coverage(hits: NDArray[np.bool_], sliced: Mapping[str, Vector]) -> dict[str, float]:
    return {name: float(hits[rows].mean()) for name, rows in slices(sliced).items()}


def worst_slice(hits: NDArray[np.bool_], sliced: Mapping[str, Vector]) -> float:
    """The lowest coverage of any slice of the hits (n,); of all rows where no slice is large
    enough."""
    return min(_slice_coverage(hits, sliced).values(), default=float(hits.mean()))


def slices_of(names: tuple[str, ...], wanted: tuple[str, ...], rows: Matrix) -> dict[str, Vector]:
    return {name: rows[:, names.index(name)] for name in wanted}
