"""Our intervals beside MAPIE and crepes, on the same splits of the same table, in one run.

`make bench-intervals` prints the table: means over random 60/20/20 splits by house, then the split
by time (fit on the earliest 60 %, judge on the last 20 %). Ratios are to MAPIE's conformalized
quantile regression. Needs the public King County table (see the README for where it is looked for).
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from crepes import ConformalRegressor, WrapRegressor
from crepes.extras import DifficultyEstimator, MondrianCategorizer
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from sklearn.ensemble import HistGradientBoostingRegressor

from engine.domain.effort import BEST, FAST, Effort
from engine.domain.kinds import POSITIVE
from engine.domain.prediction import Interval
from engine.domain.schema import Vector
from engine.judging.intervals import SLICE_LEVEL as LEVEL
from engine.judging.intervals import covered, point_errors, slices_of, winkler, worst_slice
from engine.learning.estimators import CANDIDATES
from engine.learning.fit import calibrate
from engine.learning.kinds import LEARNERS
from engine.model.runtime import run
from engine.tables.files import read_file
from engine.tables.split import Split, calibration_share, hold_out
from engine.tables.table import Table, check, translate
from problems.housing import HOUSING

KING_COUNTY = Path(__file__).parents[2] / "shared" / "data" / "kc_house_data.csv"


@dataclass(frozen=True)
class Parts:
    """Fit, calibration and test rows, the same for every method."""

    fit: Table
    calibration: Table
    test: Table
    both: Table


Method = Callable[[Parts, int], tuple[Vector, Interval]]


def ours(effort: Effort, number: int) -> Method:
    """One of our candidates: what `train_model.py` fits, on the rows that are not test rows."""

    def method(parts: Parts, seed: int) -> tuple[Vector, Interval]:
        kept, held = hold_out(parts.both, calibration_share(len(parts.both)), seed)
        candidate, rows = CANDIDATES[effort][number], parts.both.take(kept)
        fitted = LEARNERS[POSITIVE].fit(rows, candidate, seed=seed, tell=lambda step: None)
        calibration = calibrate(fitted.distribution, fitted.graph, parts.both.take(held))
        outputs = run(fitted.graph, parts.test.rows)
        return calibration.predict(outputs, LEVEL)

    return method


def mapie_split(parts: Parts, seed: int) -> tuple[Vector, Interval]:
    model = HistGradientBoostingRegressor(random_state=seed).fit(parts.fit.rows, parts.fit.target)
    mapie = SplitConformalRegressor(model, confidence_level=LEVEL, prefit=True)
    mapie.conformalize(parts.calibration.rows, parts.calibration.target)
    return bounds(*mapie.predict_interval(parts.test.rows))


def mapie_split_log(parts: Parts, seed: int) -> tuple[Vector, Interval]:
    model = HistGradientBoostingRegressor(random_state=seed)
    model.fit(parts.fit.rows, np.log(parts.fit.target))
    mapie = SplitConformalRegressor(model, confidence_level=LEVEL, prefit=True)
    mapie.conformalize(parts.calibration.rows, np.log(parts.calibration.target))
    values, intervals = mapie.predict_interval(parts.test.rows)
    return bounds(np.exp(values), np.exp(intervals))


def mapie_cqr(parts: Parts, seed: int) -> tuple[Vector, Interval]:
    quantiles = ((1 - LEVEL) / 2, (1 + LEVEL) / 2, 0.5)
    models = [
        HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=seed).fit(
            parts.fit.rows, parts.fit.target
        )
        for q in quantiles
    ]
    mapie = ConformalizedQuantileRegressor(models, confidence_level=LEVEL, prefit=True)
    mapie.conformalize(parts.calibration.rows, parts.calibration.target)
    return bounds(*mapie.predict_interval(parts.test.rows))


def crepes_mondrian(parts: Parts, seed: int) -> tuple[Vector, Interval]:
    """Log price, residuals normalised by those of near neighbours, bins of predicted price."""
    log_fit = np.log(parts.fit.target)
    wrapped = WrapRegressor(HistGradientBoostingRegressor(random_state=seed))
    wrapped.fit(parts.fit.rows, log_fit)
    centre, scale = parts.fit.rows.mean(axis=0), parts.fit.rows.std(axis=0)
    difficulty = DifficultyEstimator()
    residuals = log_fit - wrapped.predict(parts.fit.rows)
    difficulty.fit(X=(parts.fit.rows - centre) / scale, residuals=residuals, scaler=True)
    bins = MondrianCategorizer()
    bins.fit(parts.calibration.rows, f=wrapped.predict, no_bins=5)
    categories = [bins.apply(part.rows) for part in (parts.calibration, parts.test)]
    sigmas = [
        difficulty.apply((part.rows - centre) / scale) for part in (parts.calibration, parts.test)
    ]
    values = wrapped.predict(parts.calibration.rows)
    regressor = ConformalRegressor().fit(
        np.log(parts.calibration.target) - values, sigmas=sigmas[0], bins=categories[0]
    )
    predicted = wrapped.predict(parts.test.rows)
    intervals = regressor.predict_int(
        predicted, sigmas=sigmas[1], bins=categories[1], confidence=LEVEL
    )
    return bounds(np.exp(predicted), np.exp(intervals)[:, :, None])


def bounds(values: Vector, intervals: Vector) -> tuple[Vector, Interval]:
    return values, Interval(intervals[:, 0, 0], intervals[:, 1, 0], LEVEL)


METHODS: dict[str, Method] = {
    "MAPIE split, absolute": mapie_split,
    "MAPIE split, log price": mapie_split_log,
    "crepes, normalised, Mondrian": crepes_mondrian,
    "MAPIE CQR (ratio 1)": mapie_cqr,
    "ours, fast, RandomForest": ours(FAST, 1),
    "ours, fast, HistGradientBoosting": ours(FAST, 0),
    "ours, best, RandomForest": ours(BEST, 1),
    "ours, best, HistGradientBoosting": ours(BEST, 0),
}
COLUMNS = ("winkler", "ratio", "coverage", "worst slice", "MAE", "R2", "fit s")


def figures(method: Method, parts: Parts, seed: int) -> list[float]:
    start = time.perf_counter()
    values, interval = method(parts, seed)
    seconds = time.perf_counter() - start
    hits = covered(interval, parts.test.target)
    sliced = slices_of(HOUSING.schema.names, HOUSING.slices, parts.test.rows)
    errors = point_errors(values, parts.test.target)
    score = float(winkler(interval, parts.test.target).mean())
    worst = worst_slice(hits, {"predicted": values, **sliced})
    return [score, np.nan, float(hits.mean()), worst, errors["mae"], errors["r2"], seconds]


def parts_of(table: Table, rows: Split) -> Parts:
    both = np.concatenate((rows.fit, rows.calibration))
    return Parts(*map(table.take, (rows.fit, rows.calibration, rows.test, both)))


def random_parts(table: Table, seed: int) -> Parts:
    timeless = replace(table, times=None)
    rest, test = hold_out(timeless, 0.2, seed)
    kept, held = hold_out(timeless.take(rest), 0.25, seed)
    return parts_of(timeless, Split(rest[kept], rest[held], test))


def temporal_parts(table: Table) -> Parts:
    rest, test = hold_out(table, 0.2, 0)
    kept, held = hold_out(table.take(rest), 0.25, 0)
    return parts_of(table, Split(rest[kept], rest[held], test))


def show(title: str, results: dict[str, np.ndarray]) -> None:
    print(f"\n{title}\n{'':34}" + "".join(f"{name:>12}" for name in COLUMNS))
    base = results["MAPIE CQR (ratio 1)"][:, 0]
    for name, runs in results.items():
        row = runs.mean(axis=0)
        row[1] = (runs[:, 0] / base).mean()
        formats = ("12,.0f", "12.3f", "12.4f", "12.4f", "12,.0f", "12.4f", "12.1f")
        print(f"{name:34}" + "".join(format(v, f) for v, f in zip(row, formats, strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.intervals --data kc_house_data.csv --seeds 5",
    )
    parser.add_argument("--data", type=Path, default=KING_COUNTY, help="the King County table")
    parser.add_argument("--seeds", type=int, default=9, help="random splits to average over")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    frame = translate(HOUSING, read_file(arguments.data), "king-county")
    table, rejected = check(HOUSING, frame, arguments.data.name)
    print(f"{len(table)} sales, {rejected.rows} set aside")
    collected: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    for seed in range(arguments.seeds):
        parts = random_parts(table, seed)
        for name, method in METHODS.items():
            collected[name].append(figures(method, parts, seed))
            print(f"  split {seed + 1} of {arguments.seeds}: {name}", file=sys.stderr, flush=True)
    show(
        f"means over {arguments.seeds} random splits, {LEVEL:.0%} intervals, USD",
        {name: np.array(runs) for name, runs in collected.items()},
    )
    parts = temporal_parts(table)
    show(
        "split by time",
        {name: np.array([figures(method, parts, 0)]) for name, method in METHODS.items()},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
