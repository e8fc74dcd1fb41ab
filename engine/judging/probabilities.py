"""How good probabilities are on rows the model has not seen: sharpness, and whether they hold.

Sources: Brier, Monthly Weather Review 78 (1950); log loss, Good, JRSS B 14 (1952); expected
calibration error, Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using
Bayesian binning", AAAI 29 (2015), section 4, here over BINS bins of equally many rows rather than
equally wide ones, which leave most bins of a rare event empty (Nixon et al., "Measuring calibration
in deep learning", CVPR workshops (2019), section 3.4). It is a mean of absolute values, so chance
alone makes it about 0.8 standard errors of a bin's rate: on few rows it is never near 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.domain.events import area
from engine.domain.kinds import BINARY
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector
from engine.judging.intervals import slices

_BINS = 10
CHANCE = 0.95
"""The least probability with which a bin's share of events lies within its bounds by chance."""


@dataclass(frozen=True)
class Bin:
    """Rows of similar probability: the mean probability, and the share of rows where the event
    happened."""

    rows: int
    said: float
    happened: float


def figures(
    values: Vector, interval: Interval, truth: Vector, *, sliced: Mapping[str, Vector]
) -> dict[str, float]:
    """Of n rows; `sliced` maps a name to the (n,) values whose quintiles are slices."""
    brier = float(((values - truth) ** 2).mean())
    return {
        "log_loss": float(BINARY.measure.loss(values, truth).mean()),
        "brier": brier,
        "skill": skill(brier, truth),
        "ece": _calibration_error(values, truth),
        "auc": area(values, truth),
        "base_rate": float(truth.mean()),
        "mean_width": float((interval.upper - interval.lower).mean()),
        "worst_slice_calibration_error": _worst_slice_error(
            values, truth, {"predicted": values, **sliced}
        ),
    }


def skill(brier: float, truth: Vector) -> float:
    """Share by which the Brier score is lower than that of the base rate for all."""
    rate = float(truth.mean())
    return 1 - brier / (rate * (1 - rate))


def _calibration_error(values: Vector, truth: Vector) -> float:
    """|mean probability - share of events| of each row's bin, as a mean over the n rows."""
    parts = [(one.rows, abs(one.said - one.happened)) for one in bins(values, truth)]
    return sum(rows * gap for rows, gap in parts) / len(truth)


def bins(values: Vector, truth: Vector) -> Iterator[Bin]:
    """Bins of n probabilities and truths, ascending, with about equally many rows each."""
    part = _bin_numbers(values)
    for number in range(part.max() + 1):
        rows = part == number
        yield Bin(int(rows.sum()), float(values[rows].mean()), float(truth[rows].mean()))


def by_chance(parts: Sequence[Bin], calibration_rows: int) -> Matrix:
    """Bounds of the share of events in each bin, (2, bins): if the probabilities hold, the share
    lies between them with probability CHANCE.

    What was said is itself a rate, of the calibration rows that fall into the bin: of m such rows,
    rather than of endlessly many, n rows are beta-binomial, with 1 + n / m times the variance.
    """
    rows = np.array([one.rows for one in parts])
    said = np.array([one.said for one in parts])
    calibrated = calibration_rows * rows / rows.sum()
    bounds = stats.betabinom.interval(CHANCE, rows, said * calibrated, (1 - said) * calibrated)
    return np.asarray(np.array(bounds) / rows)


def _bin_numbers(values: Vector) -> NDArray[np.int64]:
    """The bin of each row, (n,): equal values share one, and each has a BINS-th of the rows or
    more, so that there are fewer where many are equal."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    numbers, number, held = [], 0, 0
    for count in counts.tolist():
        numbers.append(number)
        held += count
        if held * _BINS >= len(values):
            number, held = number + 1, 0
    last = max(number - 1, 0)
    return np.minimum(np.array(numbers, dtype=np.int64), last)[level]


def _worst_slice_error(values: Vector, truth: Vector, sliced: Mapping[str, Vector]) -> float:
    """The largest |mean probability - share of events| of any slice; of all rows where no slice is
    large enough."""
    gaps = _slice_gaps(values, truth, sliced)
    return max(map(abs, gaps.values()), default=abs(float((values - truth).mean())))


def _slice_gaps(values: Vector, truth: Vector, sliced: Mapping[str, Vector]) -> dict[str, float]:
    """By slice: mean probability less share of events."""
    gap = values - truth
    return {name: float(gap[rows].mean()) for name, rows in slices(sliced).items()}
