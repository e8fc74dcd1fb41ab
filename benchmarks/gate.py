"""How often the gate errs: simulated decisions on rows that no model has seen.

Half of the King County sales fit a bank of models (same learner, other seed, another random 80 % of
these rows); the other half is the population. A decision draws judged and calibration rows from it
**with replacement**: the population's means are then the truth, rows are independent, and a null
hypothesis holds exactly (without, means of 4,000 of 10,800 rows have a third too little variance,
and every error rate looks too good). "Truly x % better": the challenger's log errors are scaled
until its mean loss over the population is exactly that; the two models disagree as real ones do.
"RF -> ours" and "RF -> HGB" (both on the log price) are as fitted, nothing is scaled.

Thirty nights: windows of n rows that move on by 60 a night (King County sells 59 homes a day), a
fresh challenger every night against the same champion; counted is whether any night promotes.
Events, "3 in 10" and "3 in 100", are simulated (`benchmarks.events`) and judged by log loss.

Columns: share promoted in %, with its 95 % interval, by the gate; by its test of the loss alone; by
a paired t-test at 5 % with neither minimum effect nor spending; by "lower RMSE wins" (Brier score).
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from benchmarks import events
from engine.domain.effort import BEST
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT
from engine.domain.kinds import POSITIVE
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector
from engine.judging import gate
from engine.judging.evidence import Evidence, ModelAnswers
from engine.judging.guardrails import p_positive
from engine.judging.intervals import slices_of
from engine.learning.estimators import CANDIDATES
from engine.tables.files import read_file
from engine.tables.split import Rows, hold_out
from engine.tables.table import Table, check, translate
from problems.housing import HOUSING, simulate

KING_COUNTY = Path(__file__).parents[2] / "shared" / "data" / "kc_house_data.csv"
SIZES = (500, 2_000, 4_000)
NIGHTS = 30
ROWS_A_NIGHT = 60
CALIBRATION_ROWS = 400
LEVEL = 0.9
RULES = ("gate", "loss test alone", "t-test 5 %", "lower RMSE")

Pair = tuple[Vector, Vector]
"""Log predictions of champion and challenger for the population, (rows,) each."""
Pick = Callable[[np.random.Generator], Iterator[Pair]]
"""One champion, and challengers one after the other."""


@dataclass(frozen=True, eq=False)
class Population:
    """Rows that no model has seen."""

    truth: Vector
    sliced: dict[str, Vector]

    def evidence(self, pair: Pair, judged: Rows, calibration: Rows, attempt: int) -> Evidence:
        champion, challenger = (self.answers(model, judged, calibration) for model in pair)
        sliced = {name: values[judged] for name, values in self.sliced.items()}
        truth = self.truth[judged]
        return Evidence(champion, challenger, truth, sliced, attempt, True, True)

    def answers(self, model: Vector, judged: Rows, calibration: Rows) -> ModelAnswers:
        """Split conformal on the absolute log residual."""
        residuals = np.sort(np.abs(np.log(self.truth[calibration]) - model[calibration]))
        margin = residuals[int(np.ceil(LEVEL * (len(calibration) + 1))) - 1]
        ends = Interval(np.exp(model[judged] - margin), np.exp(model[judged] + margin), LEVEL)
        return ModelAnswers(np.exp(model[judged]), ends, len(calibration), latency_us=10.0)


def decide(population: Population, pair: Pair, drawn: tuple[Rows, Rows], attempt: int) -> Vector:
    """What each of RULES says, 0 or 1."""
    judged, calibration = drawn
    return ruled(population.evidence(pair, judged, calibration, attempt))


def ruled(evidence: Evidence) -> Vector:
    """A guardrail can only say no, so the whole gate is asked only when the loss has passed."""
    truth, attempt = evidence.truth, evidence.attempt
    champion, challenger = (answers.values for answers in evidence.sides)
    old, new = (evidence.kind.measure.loss(values, truth) for values in (champion, challenger))
    loss_passes = p_positive((1 - MINIMUM_EFFECT) * old - new) <= gate.level(attempt)
    gate_passes = loss_passes and gate.judge(evidence).promote
    rmse_is_lower = ((challenger - truth) ** 2).mean() < ((champion - truth) ** 2).mean()
    plain = p_positive(old - new) <= ALPHA
    return np.array([gate_passes, loss_passes, plain, rmse_is_lower], dtype=float)


@dataclass(frozen=True)
class Case:
    """A challenger, how a decision about it is made, and whether to promote would be an error."""

    name: str
    said: Callable[[int, np.random.Generator], Vector]
    is_false: bool


def event(rate: float, ratio: float, n: int, rng: np.random.Generator) -> Vector:
    truth, old, (new,) = events.drawn(rng, n, ratio, rate)
    return ruled(events.evidence(truth, old, new))


def event_nights(rate: float, ratio: float, n: int, rng: np.random.Generator) -> Vector:
    """As `nights`: a fresh challenger every night on windows that overlap."""
    rows = n + ROWS_A_NIGHT * (NIGHTS - 1)
    truth, old, fresh = events.drawn(rng, rows, ratio, rate, NIGHTS)
    said = np.zeros(len(RULES))
    for night, new in enumerate(fresh):
        seen = slice(night * ROWS_A_NIGHT, night * ROWS_A_NIGHT + n)
        found = ruled(events.evidence(truth[seen], old[seen], new[seen], night + 1))
        said = np.maximum(said, found)
    return said


def event_cases() -> list[Case]:
    edge, common, rare = 1 - MINIMUM_EFFECT, 0.3, 0.03
    return [
        Case("event, 3 in 10: equal", partial(event, common, 1.0), True),
        Case("event, 3 in 10: the border", partial(event, common, edge), True),
        Case("event, 3 in 100: the border", partial(event, rare, edge), True),
        Case("the border, any of 30 nights", partial(event_nights, common, edge), True),
        Case("event, 3 in 10: 5 % better", partial(event, common, 0.95), False),
        Case("event, 3 in 10: 10 % better", partial(event, common, 0.9), False),
        Case("event, 3 in 100: 20 % better", partial(event, rare, 0.8), False),
    ]


def nights(population: Population, pick: Pick, n: int, rng: np.random.Generator) -> Vector:
    """Whether each rule promotes on any of the nights; the champion and the stream stay."""
    stream = rng.integers(0, len(population.truth), n + ROWS_A_NIGHT * (NIGHTS - 1))
    calibration = rng.integers(0, len(population.truth), CALIBRATION_ROWS)
    said = np.zeros(len(RULES))
    for night, pair in enumerate(islice(pick(rng), NIGHTS)):
        judged = stream[night * ROWS_A_NIGHT :][:n]
        said = np.maximum(said, decide(population, pair, (judged, calibration), night + 1))
    return said


def learned(table: Table, seen: Rows, unseen: Rows, models: int) -> Matrix:
    """Log predictions for the unseen rows by `models` seeds of our candidate's location."""
    rng = np.random.default_rng(0)
    bank = []
    for seed in range(models):
        rows = rng.choice(seen, int(0.8 * len(seen)), replace=False)
        bank.append(boosted(table.rows, np.log(table.target), rows, unseen, seed))
        print(f"\r  model {seed + 1} of {models}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return np.array(bank)


def boosted(rows: Matrix, log_target: Vector, seen: Rows, unseen: Rows, seed: int) -> Vector:
    members = CANDIDATES[BEST][0].members
    fitted = (e.fit(rows[seen], log_target[seen]) for e in members(seed))
    return np.asarray(np.mean([e.predict(rows[unseen]) for e in fitted], axis=0))


def of_equal_loss(bank: Matrix, truth: Vector) -> Matrix:
    """Scale every model's log errors to the mean loss of the first."""
    errors = bank - np.log(truth)
    losses = np.abs(errors).mean(axis=1, keepdims=True)
    return np.asarray(np.log(truth) + errors * losses[0] / losses)


def against_one(bank: Matrix, truth: Vector, ratio: float) -> Pick:
    """Models of the bank, every challenger's mean loss `ratio` times the champion's."""

    def pick(rng: np.random.Generator) -> Iterator[Pair]:
        champion, *fresh = rng.permutation(len(bank))
        for challenger in fresh:
            yield bank[champion], np.log(truth) + ratio * (bank[challenger] - np.log(truth))

    return pick


def always(pair: Pair) -> Pick:
    return lambda rng: repeat(pair)


def forest_and_boosted(rows: Matrix, target: Vector, seen: Rows, unseen: Rows) -> dict[str, Pair]:
    """RandomForest on the price, against our candidate's location and scikit-learn's own HGB."""
    forest = RandomForestRegressor(random_state=0, n_jobs=1).fit(rows[seen], target[seen])
    champion = np.log(forest.predict(rows[unseen]))
    default = HistGradientBoostingRegressor(random_state=0).fit(rows[seen], np.log(target[seen]))
    ours = boosted(rows, np.log(target), seen, unseen, seed=0)
    return {"ours": (champion, ours), "HGB": (champion, default.predict(rows[unseen]))}


def all_columns(frame: pd.DataFrame) -> Matrix:
    """All the King County table knows of a sale, the date as a day number."""
    days = pd.to_datetime(frame["date"].astype(str).str.slice(0, 8)).to_numpy("datetime64[D]")
    known = frame.drop(columns=["id", "date", "price"]).to_numpy(float)
    return np.column_stack((days.astype(float), known))


def cases(table: Table, frame: pd.DataFrame | None) -> list[Case]:
    seen, unseen = hold_out(table, 0.5, 0)
    truth = table.target[unseen]
    features = slices_of(HOUSING.schema.names, HOUSING.slices, table.rows[unseen])
    population = Population(truth, features)
    bank = of_equal_loss(learned(table, seen, unseen, NIGHTS + 1), truth)

    def case(name: str, pick: Pick, *, is_false: bool, attempt: int = 1) -> Case:
        def said(n: int, rng: np.random.Generator) -> Vector:
            judged, calibration = (rng.integers(0, len(truth), m) for m in (n, CALIBRATION_ROWS))
            return decide(population, next(pick(rng)), (judged, calibration), attempt)

        return Case(name, said, is_false)

    equal, border, worse, better = (
        against_one(bank, truth, ratio) for ratio in (1, 1 - MINIMUM_EFFECT, 1.01, 0.97)
    )
    found = [
        case("truly equal", equal, is_false=True),
        case("truly 1 % worse", worse, is_false=True),
        case("0.5 % better, the border", border, is_false=True),
        Case("equal, any of 30 nights", partial(nights, population, equal), True),
        Case("at the border, any of 30 nights", partial(nights, population, border), True),
        case("truly 3 % better", better, is_false=False),
        case("the same, as 10th attempt", better, is_false=False, attempt=10),
        case("the same, as 30th attempt", better, is_false=False, attempt=30),
    ]
    known = {"5 features": table.rows}
    if frame is not None and len(frame) == len(table):
        known["all columns"] = all_columns(frame)
    for title, rows in known.items():
        for name, pair in forest_and_boosted(rows, table.target, seen, unseen).items():
            old, new = (POSITIVE.measure.loss(np.exp(model), truth).mean() for model in pair)
            told = f"RF -> {name}, {title} ({100 * (1 - new / old):.1f} %)"
            found.append(case(told, always(pair), is_false=False))
    return found


def show(case: Case, n: int, said: Matrix) -> bool:
    """Print a line; whether the gate's rate may be what was promised, as far as chance allows."""
    bounds = [stats.binomtest(int(yes), len(said)).proportion_ci() for yes in said.sum(axis=0)]
    rates = zip(100 * said.mean(axis=0), bounds, strict=True)
    cells = [f"{rate:.1f} ({100 * low:.1f}-{100 * high:.1f})" for rate, (low, high) in rates]
    print(f"{case.name:36}{n:>5}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    return not case.is_false or bool(bounds[0].low <= ALPHA)


def market(path: Path) -> tuple[Table, pd.DataFrame | None]:
    """King County, or the simulated market where the file is absent; without times: rows are
    drawn from one population."""
    frame = read_file(path) if path.exists() else None
    simulated = simulate(21_613, 0)
    columns = simulated if frame is None else translate(HOUSING, frame, "king-county")
    name = "the simulated market" if frame is None else path.name
    return replace(check(HOUSING, columns, name)[0], times=None), frame


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.gate --data kc_house_data.csv --decisions 2000",
    )
    parser.add_argument("--data", type=Path, default=KING_COUNTY, help="the King County table")
    parser.add_argument("--decisions", type=int, default=2_000, help="simulated, for each line")
    parser.add_argument("--events", action="store_true", help="only those lines")
    arguments = parser.parse_args()
    start = time.perf_counter()
    table, frame = market(arguments.data)
    print(
        f"{table.source}, {len(table)} sales; {arguments.decisions} decisions a line; promoted, %"
    )
    print(f"{'challenger':36}{'rows':>5}" + "".join(f"{rule:>20}" for rule in RULES))
    kept = []
    wanted = [] if arguments.events else cases(table, frame)
    for number, case in enumerate([*wanted, *event_cases()]):
        for n in SIZES:
            rng = np.random.default_rng((number, n))
            said = np.array([case.said(n, rng) for _ in range(arguments.decisions)])
            kept.append(show(case, n, said))
            print(f"  {time.perf_counter() - start:4.0f} s", file=sys.stderr, flush=True)
    print(f"\nfalse promotions at most {ALPHA:.0%} within chance: {'yes' if all(kept) else 'NO'}")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
