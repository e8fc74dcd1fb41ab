"""How often live comparisons err when one looks after every unit, and how soon they see a change.

Models of equal mean loss, fitted to half of the King County sales, answer the other half; units are
drawn from it **with replacement**, so what is true is known exactly (see `benchmarks.gate`). Half
the log width of a model's intervals is what 90 % of its own errors over the population stay below.
"x % better": the variant's log errors are scaled until its mean loss is exactly that.

First table: streams that **ever** say so, in %, at any look from the burn-in on, with a look after
every unit of the variant. A shadow answers the champion's rows, others a share of all units.
"fixed n": better by the bounds of a single look. "worse": by the loss. "coverage": the objection to
a variant that covers exactly what it claims. "half at": the variant's units at which half of all
streams had been called better, or worse.

Second table: whole roll-outs by `engine.watching.rollout.decide`, looked at after every tenth of a
stage's units until it advances, or MOST times as many units were seen; in %, how many are rolled
back, and where, how many become champion, and after how many of the callers half of those, all
stages together. Third table: what looking costs.

Fourth table: two models of an event, simulated, judged by log loss at LOOKS looks; in %, how many
streams ever say better, or worse, and how many would, were the loss believed to vary no more than
was seen ("as seen"; `engine.watching.chance`). Of the pairs, the first miss the true log-odds alike
(normal, 0.4); of the next each says one probability of every row, and the event is as likely as
makes their log losses equal; the last miss the log-odds by 1 and by 0.5.
"""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.gate import KING_COUNTY, learned, market, of_equal_loss
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT
from engine.domain.kinds import BINARY, POSITIVE
from engine.domain.schema import Matrix, Vector
from engine.domain.traffic import SHADOW, TEST
from engine.tables.split import hold_out
from engine.watching.chance import least_spread
from engine.watching.comparison import BY_COVERAGE, HARMS, Comparison, compare, means
from engine.watching.groups import RecordedAnswers, losses
from engine.watching.rollout import (
    LEVEL,
    ROLL_BACK,
    STAGES,
    STAY,
    Stage,
    Step,
    decide,
    proves,
)
from engine.watching.sequence import FEWEST, NO_SPREAD, apart, improvement, paired, reach
from engine.watching.sides import in_units

MODELS = 5
MOST = 20
COVERAGE = 0.9
SHARES = {"shadow": (1.0, 5_000), "50 %": (0.5, 5_000), "10 %": (0.1, 2_000), "1 %": (0.01, 500)}
"""The variant's share of the units (1: the champion's own), and how many of them a stream has."""
RATIOS = {
    "equal": 1.0,
    "0.5 % better, the border": 1 - MINIMUM_EFFECT,
    "3 % better": 0.97,
    "10 % better": 0.9,
    "30 % better": 0.7,
    "10 % worse": 1.1,
    "30 % worse": 1.3,
}
BY_LOSS = (1 - BY_COVERAGE) * ALPHA
"""The level at which a variant is called better by its loss."""
FIXED = NormalDist().inv_cdf(1 - ALPHA)
Pair = tuple[Vector, Vector]
Models = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Population:
    """Log errors of models of equal mean loss, (models, rows), and each one's margin, (models,)."""

    errors: Matrix
    margins: Vector

    def pair(self, rng: np.random.Generator) -> Models:
        old, new = rng.permutation(len(self.errors))[:2]
        return int(old), int(new)

    def drawn(
        self, rng: np.random.Generator, models: Models, share: float, *, n: int
    ) -> tuple[Pair, tuple[float, float]]:
        """Log errors of two models on units drawn for them, n for the variant; their margins."""
        rows = rng.integers(0, self.errors.shape[1], n)
        others = rng.integers(0, self.errors.shape[1], round(n / share) - n) if share < 1 else rows
        old, new = models
        errors = self.errors[old][others], self.errors[new][rows]
        return errors, (float(self.margins[old]), float(self.margins[new]))


def population(path: Path) -> tuple[str, Population]:
    table, _ = market(path)
    seen, unseen = hold_out(table, 0.5, 0)
    truth = table.target[unseen]
    errors = of_equal_loss(learned(table, seen, unseen, MODELS), truth) - np.log(truth)
    return table.source, Population(errors, np.quantile(np.abs(errors), COVERAGE, axis=1))


@dataclass(frozen=True, eq=False)
class Looks:
    """Mean of the champion's quantity less the variant's, its variance, and n; (looks,) each."""

    gap: Vector
    variance: Vector
    n: Vector

    def shown(self, z: Vector, *, is_share: bool = False) -> NDArray[np.bool_]:
        tail = (z / self.n) ** 2 / 2 if is_share else 0.0
        return np.asarray(self.gap >= z * np.sqrt(self.variance + tail))

    def reach(self, alpha: float) -> Vector:
        grid = np.geomspace(self.n[0], self.n[-1] + 1, 500)
        return np.interp(self.n, grid, [reach(n, alpha) for n in grid])


def looks(old: Vector, new: Vector, share: float) -> Looks:
    """After every unit of the variant from the burn-in on; what `paired` and `apart` say there."""
    n = np.arange(FEWEST, len(new) + 1)
    if share == 1:
        gap, variance = running(old - new, n)
        return Looks(gap, variance / n, n.astype(float))
    m = np.maximum(n * len(old) // len(new), FEWEST)
    (one, v0), (two, v1) = running(old, m), running(new, n)
    both = (m * v0 + n * v1) / (m + n)
    variance = np.maximum(v0, both) / m + np.maximum(v1, both) / n
    return Looks(one - two, variance, m * n / (m + n))


def running(quantity: Vector, n: NDArray[np.int64]) -> tuple[Vector, Vector]:
    """Mean and variance of the first n units."""
    mean = quantity.cumsum()[n - 1] / n
    squares = (quantity**2).cumsum()[n - 1]
    return mean, (squares - n * mean**2).clip(0) / (n - 1)


def said(errors: Pair, margins: tuple[float, float], share: float) -> list[NDArray[np.bool_]]:
    """At every look: better, better by a fixed n, worse, coverage objected to."""
    old, new = (np.abs(part) for part in errors)
    better, worse = looks((1 - MINIMUM_EFFECT) * old, new, share), looks(-old, -new, share)
    misses = [
        (part > margin).astype(float) for part, margin in zip((old, new), margins, strict=True)
    ]
    below = looks(-misses[0], -misses[1], share)
    claimed = looks(np.full(len(new), COVERAGE - 1), -misses[1], 1.0)
    return [
        better.shown(better.reach(BY_LOSS)),
        better.shown(np.full(len(better.n), FIXED)),
        worse.shown(worse.reach(ALPHA / HARMS)),
        below.shown(below.reach(ALPHA / HARMS), is_share=True)
        & claimed.shown(claimed.reach(ALPHA / HARMS), is_share=True),
    ]


def refuse_if_not_the_same(errors: Pair, share: float) -> None:
    """The looks above are those of the product, at a few of them."""
    old, new = (np.abs(part) for part in errors)
    here = said(errors, (1.0, 1.0), share)
    for n in np.geomspace(FEWEST, len(new), 20).astype(int):
        m = n if share == 1 else max(n * len(old) // len(new), FEWEST)
        means = paired(old[:n], new[:n]) if share == 1 else apart(old[:m], new[:n])
        found = improvement(means, below=BY_LOSS, above=ALPHA / HARMS)
        there = found is not None and (found.low >= MINIMUM_EFFECT, found.high <= 0)
        if there and there != (here[0][n - FEWEST], here[2][n - FEWEST]):
            raise AssertionError(f"{share}, {n} units: {there}")


def first_table(models: Population, streams: int) -> bool:
    heads = ("better", "fixed n", "worse", "coverage", "half at")
    print(f"{'variant':28}{'share':>8}{'units':>7}" + "".join(f"{h:>20}" for h in heads))
    kept = True
    for share, n in SHARES.values():
        rng = np.random.default_rng(n)
        refuse_if_not_the_same(models.drawn(rng, models.pair(rng), share, n=n)[0], share)
    for name, ratio in RATIOS.items():
        for title, (share, n) in SHARES.items():
            rng = np.random.default_rng((n, round(1000 * ratio)))
            firsts = np.array([ever(models, rng, share, n=n, ratio=ratio) for _ in range(streams)])
            rates = np.isfinite(firsts).sum(axis=0)
            true = firsts[:, 2 if ratio > 1 else 0]
            half = np.sort(true)[streams // 2]
            cells = [
                *(with_bounds(k, streams) for k in rates),
                f"{half:,.0f}" if half < np.inf else "-",
            ]
            print(f"{name:28}{title:>8}{n:>7,}" + "".join(f"{c:>20}" for c in cells), flush=True)
            false = rates[0] if ratio >= 1 - MINIMUM_EFFECT else rates[2]
            kept &= stats.binomtest(int(false), streams).proportion_ci().low <= ALPHA
    return bool(kept)


def ever(
    models: Population, rng: np.random.Generator, share: float, *, n: int, ratio: float
) -> Vector:
    """The variant's units when each of four things is first said; infinity for never."""
    (old, new), margins = models.drawn(rng, models.pair(rng), share, n=n)
    margin = margins[0], margins[1] * ratio
    found = said((old, ratio * new), margin, share)
    return np.array([FEWEST + flags.argmax() if flags.any() else np.inf for flags in found])


def with_bounds(count: int, of: int) -> str:
    bounds = stats.binomtest(int(count), of).proportion_ci()
    return f"{100 * count / of:.1f} ({100 * bounds.low:.1f}-{100 * bounds.high:.1f})"


@dataclass(frozen=True)
class Candidate:
    """What is wrong with it: times the champion's loss, half the width of its intervals, and
    latency; shares of rows it fails on, where it answers twice as much, with known truth."""

    name: str
    loss: float = 1.0
    margin: float = 1.0
    latency: float = 1.0
    fails: float = 0.0
    astray: float = 0.0
    outcomes: float = 1.0


CANDIDATES = (
    Candidate("equal"),
    Candidate("equal, 1 outcome in 10", outcomes=0.1),
    Candidate("equal, no outcomes", outcomes=0.0),
    Candidate("1.2 times as slow, the border", latency=1.2),
    Candidate("10 % worse", loss=1.1),
    Candidate("30 % worse", loss=1.3),
    Candidate("10 % worse, 1 outcome in 10", loss=1.1, outcomes=0.1),
    Candidate("30 % worse, 1 outcome in 10", loss=1.3, outcomes=0.1),
    Candidate("intervals two thirds as wide", margin=2 / 3),
    Candidate("1.5 times as slow", latency=1.5),
    Candidate("twice as slow", latency=2.0),
    Candidate("a thousand times as slow", latency=1000.0),
    Candidate("fails on 1 %", fails=0.01),
    Candidate("astray on 30 %, no outcomes", astray=0.3, outcomes=0.0),
)
GOOD = 4
"""The first so many must not be rolled back more often than promised."""


def second_table(models: Population, rollouts: int) -> bool:
    print(
        f"\n{'candidate':32}{'rolled back':>20}"
        + "".join(f"{s.name:>14}" for s in STAGES)
        + f"{'champion':>10}{'callers':>9}"
    )
    kept = True
    for number, candidate in enumerate(CANDIDATES):
        rng = np.random.default_rng(number)
        found = [rolled_out(models, candidate, rng) for _ in range(rollouts)]
        ends = Counter(end for end, _ in found)
        back = sum(ends[stage] for stage in STAGES)
        callers = [seen for end, seen in found if end == "champion"]
        took = f"{np.median(callers):,.0f}" if callers else "-"
        where = "".join(f"{100 * ends[stage] / rollouts:>14.1f}" for stage in STAGES)
        print(
            f"{candidate.name:32}{with_bounds(back, rollouts):>20}{where}"
            f"{100 * len(callers) / rollouts:>10.1f}{took:>9}",
            flush=True,
        )
        if number < GOOD:
            kept &= stats.binomtest(back, rollouts).proportion_ci().low <= ALPHA
    return bool(kept)


def rolled_out(
    models: Population, candidate: Candidate, rng: np.random.Generator
) -> tuple[Stage | str, int]:
    """The stage at which the candidate is rolled back, else "champion" or "open"; the callers."""
    pair = models.pair(rng)
    old, new = models.errors[list(pair)]
    expected = float((np.abs(new - old) <= models.margins[pair[0]]).mean())
    callers, proven, stage = 0, False, STAGES[0]
    while True:
        step, seen = at_stage(
            models, candidate, rng, stage, pair=pair, expected=expected, proven=proven
        )
        callers += round(seen.variant.units / (stage.share or 1))
        if step.move in {ROLL_BACK, STAY}:
            return (stage if step.move == ROLL_BACK else "open"), callers
        if step.to is None:
            return "champion", callers
        proven = proves(seen) if stage.mode == SHADOW else proven
        stage = step.to


def at_stage(
    models: Population,
    candidate: Candidate,
    rng: np.random.Generator,
    stage: Stage,
    *,
    pair: Models,
    expected: float,
    proven: bool,
) -> tuple[Step, Comparison]:
    """How the stage ends, and on what."""
    enough = stage.fewest if proven else stage.unproven
    most = MOST * enough
    errors, margins = models.drawn(rng, pair, stage.share or 1.0, n=most)
    whole = (
        answers(rng, errors[0], margins[0], Candidate("champion", outcomes=candidate.outcomes)),
        answers(rng, errors[1], margins[1], candidate),
    )
    for n in range(enough // 10, most + 1, enough // 10):
        parts = (first(rows, len(rows) * n // most) for rows in whole)
        sides = zip(("v1.0.0", "v1.1.0-rc.1"), parts, strict=True)
        seen = compare(stage.mode, *sides, share=stage.share, alpha=LEVEL)
        step = decide(stage, seen, expected, proven=proven)
        if step.move != STAY:
            break
    return step, seen


def answers(
    rng: np.random.Generator, errors: Vector, margin: float, candidate: Candidate
) -> RecordedAnswers:
    """A unit each row, the truth is 100."""
    n = len(errors)
    is_astray, failed = rng.random((2, n)) < [[candidate.astray], [candidate.fails]]
    value = 100 * np.exp(candidate.loss * errors) * np.where(is_astray, 2, 1)
    half = np.exp(margin * candidate.loss * candidate.margin)
    return RecordedAnswers(
        kind=POSITIVE,
        unit=np.arange(n),
        value=np.where(failed, np.nan, value),
        lower=value / half,
        upper=value * half,
        level=np.full(n, COVERAGE),
        latency_us=rng.lognormal(3, 0.5, n) * candidate.latency,
        actual=np.where(rng.random(n) < candidate.outcomes, 100.0, np.nan),
    )


def first(rows: RecordedAnswers, n: int) -> RecordedAnswers:
    columns = (getattr(rows, field.name) for field in fields(rows)[1:])
    return RecordedAnswers(rows.kind, *(column[:n] for column in columns))


def third_table() -> None:
    print("\nhow many times as wide as a bound of a single look (one side), and as many units")
    for alpha, name in (
        (BY_LOSS, "better"),
        (ALPHA / HARMS, "worse"),
        (LEVEL / HARMS, "roll back"),
    ):
        single = NormalDist().inv_cdf(1 - alpha)
        times = [(n, reach(n, alpha) / single) for n in (50, 200, 500, 2_000, 10_000, 50_000)]
        print(f"{name:12}" + "".join(f"{n:>9,}: {t:.2f} {t * t:.1f}" for n, t in times))


@dataclass(frozen=True)
class Forecasts:
    """Two models of an event: what they say of n rows whose true probability is known."""

    name: str
    odds: float
    old_misses: float = 0.0
    new_misses: float = 0.0
    constant: tuple[float, float] | None = None
    is_equal: bool = True

    def drawn(self, rng: np.random.Generator, n: int) -> tuple[Pair, Vector]:
        """Both models' probabilities, and whether the event happened."""
        if self.constant is not None:
            old, new = self.constant
            a, b = np.log((1 - new) / (1 - old)), np.log(old / new)
            return (np.full(n, old), np.full(n, new)), (rng.random(n) < a / (a + b)) * 1.0
        true = rng.normal(self.odds, 1, n)
        misses = rng.normal(size=(2, n)) * [[self.old_misses], [self.new_misses]]
        old, new = special.expit(true + misses)
        return (old, new), (rng.random(n) < special.expit(true)) * 1.0


EVENTS = (
    Forecasts("3 in 10, equal", -1, 0.4, 0.4),
    Forecasts("1 in 100, equal", -5, 0.4, 0.4),
    Forecasts("0.01 and 0.005, equal", 0, constant=(0.01, 0.005)),
    Forecasts("0.0001 and 0.01, equal", 0, constant=(0.0001, 0.01)),
    Forecasts("0.001 and 0.0005, equal", 0, constant=(0.001, 0.0005)),
    Forecasts("3 in 10, better", -1, 1.0, 0.5, is_equal=False),
    Forecasts("1 in 100, better", -5, 1.0, 0.5, is_equal=False),
)
LOOKS = 20


def fourth_table(streams: int) -> bool:
    heads = ("better", "worse", "better as seen", "worse as seen")
    print(f"\n{'event':28}{'share':>8}{'units':>7}" + "".join(f"{h:>20}" for h in heads))
    kept = True
    for models in EVENTS:
        for title in ("shadow", "50 %", "10 %"):
            share, n = SHARES[title]
            rng = np.random.default_rng(n)
            found = [ever_said(models, rng, share, n) for _ in range(streams)]
            rates = np.array(found).sum(axis=0)
            cells = "".join(f"{with_bounds(k, streams):>20}" for k in rates)
            print(f"{models.name:28}{title:>8}{n:>7,}{cells}", flush=True)
            for false in rates[:2] if models.is_equal else rates[1:2]:
                kept &= stats.binomtest(int(false), streams).proportion_ci().low <= ALPHA
    return bool(kept)


def ever_said(
    models: Forecasts, rng: np.random.Generator, share: float, n: int
) -> NDArray[np.bool_]:
    """Whether better or worse is ever said, and whether it would be as seen."""
    mode, others = (SHADOW, n) if share == 1 else (TEST, round(n / share) - n)
    (old, new), happened = models.drawn(rng, n)
    before = happened
    if mode == TEST:
        (old, _), before = models.drawn(rng, others)
    whole = told(old, before), told(new, happened)
    ever = np.zeros(4, dtype=bool)
    for k in np.geomspace(FEWEST, n, LOOKS).astype(int):
        sides = [first(rows, max(len(rows) * k // n, FEWEST)) for rows in whole]
        loss = in_units(mode, sides[0], sides[1], quantity=losses)
        for place, least in enumerate((least_spread(mode, sides[0], sides[1]), NO_SPREAD)):
            found = improvement(means(mode, loss, least), below=BY_LOSS, above=ALPHA / HARMS)
            if found is not None:
                ever[2 * place] |= found.low >= MINIMUM_EFFECT
                ever[2 * place + 1] |= found.high < 0
    return ever


def told(chances: Vector, happened: Vector) -> RecordedAnswers:
    n = len(chances)
    level, latency = np.full(n, COVERAGE), np.ones(n)
    return RecordedAnswers(
        BINARY, np.arange(n), chances, chances, chances, level, latency, happened
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.watching --data kc_house_data.csv --streams 2000",
    )
    parser.add_argument("--data", type=Path, default=KING_COUNTY, help="the King County table")
    parser.add_argument("--streams", type=int, default=2_000, help="simulated, for each line")
    parser.add_argument("--rollouts", type=int, default=2_000, help="simulated, for each line")
    arguments = parser.parse_args()
    start = time.perf_counter()
    source, models = population(arguments.data)
    print(f"{source}; {arguments.streams} streams and {arguments.rollouts} roll-outs a line, in %")
    kept = [first_table(models, arguments.streams), second_table(models, arguments.rollouts)]
    third_table()
    kept.append(fourth_table(arguments.streams))
    print(f"\nwrong at most {ALPHA:.0%} within chance: {'yes' if all(kept) else 'NO'}")
    print(f"  {time.perf_counter() - start:4.0f} s", file=sys.stderr)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
