"""A year of real outcomes: do intervals hold where the world changes, and is it ever a mistake?

Bike rentals by the hour (Kaggle's bike sharing demand, 10,886 rows in time order). A model of the
first 30 % is champion; the others are asked of it one after the other, every outcome is told, and
after every 145 of them `retrain.py --rollout` runs, as a schedule would have it. Columns: what the
table has but `casual` and `registered`, which add up to the target, and the hour, weekday, month
and day number of `datetime`. First table: coverage of the 90 % intervals that were answered, by 290
outcomes from the 300th on, beside the first champion's, had nobody replaced it.

Second table: the same champion, rows and rule, but the rows in random order, so that no copy covers
more than the champion: of so many years, the share in which one of SUCCESSIVE copies takes its
place, in %.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from engine.assemble import Stores, card_of, open_records, open_stores
from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.judgement import ALPHA
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.record import CHAMPION, Outcome, Record, RecordBlock
from engine.domain.schema import Vector
from engine.domain.times import written
from engine.domain.traffic import SHADOW
from engine.domain.version import Version
from engine.learning.recalibrate import by_newest
from engine.learning.standby import Post, compared
from engine.learning.train import Origin
from engine.model.model import serve
from engine.model.runtime import run
from engine.settings import Settings, load_settings
from engine.tables.table import Table
from problems import named

ROOT = Path(__file__).parents[1]
BIKES = ROOT.parent / "shared" / "data" / "tables" / "kaggle_bike_train.csv"
TARGET, FIRST = "count", 0.3
NIGHT, WINDOW, BEGIN = 145, 290, 300
ASKED = 0.75
SUCCESSIVE = 30
FOREVER = "9999-12-31T23:59:59.999Z"


def bikes(path: Path, *, is_dated: bool) -> pd.DataFrame:
    frame = pd.read_csv(path).drop(columns=["casual", "registered"])
    times = pd.to_datetime(frame["datetime"])
    frame["hour"], frame["weekday"], frame["month"] = (
        times.dt.hour,
        times.dt.day_of_week,
        times.dt.month,
    )
    return frame.assign(day_number=(times - times[0]).dt.days) if is_dated else frame


class Year:
    """A champion, its stores, and the rows that come after those it was trained on."""

    def __init__(self, frame: pd.DataFrame, place: Path) -> None:
        first = round(FIRST * len(frame))
        frame[:first].to_csv(place / "first.csv", index=False)
        self.env = {
            **os.environ,
            "DATA_DIR": str(place / "data"),
            "SERVE": "bikes",
            "COLUMNS": "400",
        }
        own = ("--data", str(place / "first.csv"), "--target", TARGET, "--name", "bikes", "--yes")
        print(self.script("train_model.py", *own).splitlines()[-2])
        os.environ.update(self.env)
        self.settings: Settings = load_settings()
        self.problem: Problem = named("bikes", partial(card_of, self.settings))
        self.stores: Stores = open_stores(self.settings, "bikes")
        rest = frame[first:].drop(columns=["datetime"])
        self.rows: list[dict[str, Any]] = [
            {name: value.item() for name, value in zip(rest.columns, row, strict=True)}
            for row in zip(*(rest[name].to_numpy() for name in rest.columns), strict=True)
        ]
        self.truth = rest[TARGET].to_numpy(dtype=float)
        self.matrix = self.problem.schema.encode(self.rows)

    def script(self, *arguments: str) -> str:
        """What it prints; raises RuntimeError where it fails."""
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode not in {0, 10}:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def artifacts(self) -> Iterator[Artifact]:
        """The champion and the variants beside it."""
        yield self.stores.champion.load()
        for variant in history.traffic(self.stores.champion.history()).variants:
            yield self.stores.artifacts.load("bikes", variant.version)

    def day(self, rows: range, records: Records) -> list[bool]:
        """Ask and tell; whether each answer's interval held the truth."""
        past = self.stores.champion.history()
        traffic, champion = history.traffic(past), str(history.champion(past))
        models = {one.card.version: serve(one, self.problem, "") for one in self.artifacts()}
        part = self.matrix[rows.start : rows.stop]
        said = {v: model.predict(part, DEFAULT_CONFIDENCE) for v, model in models.items()}
        found, told, held = [], [], []
        for at, number in enumerate(rows):
            mine = traffic.version_for(part[at].tobytes())
            mode = traffic.variants[0].mode if mine else CHAMPION
            asked = [(str(mine or champion), mode)]
            asked += [(str(one.version), SHADOW) for one in traffic.shadows]
            for version, variant in asked:
                found.append(self.record(number, version, variant, said[version], at))
            low, high = found[-len(asked)].lower or 0.0, found[-len(asked)].upper or 0.0
            held.append(low <= self.truth[number] <= high)
            told.append(Outcome(f"{number:032x}-0", self.truth[number], written(datetime.now(UTC))))
        records.append([RecordBlock.of(one) for one in found])
        records.label("bikes", told)
        return held

    def record(self, number: int, version: str, variant: str, said: Any, at: int) -> Record:
        return Record(
            id=f"{number:032x}-0",
            at=written(datetime.now(UTC)),
            problem="bikes",
            version=version,
            variant=variant,
            row={name: value for name, value in self.rows[number].items() if name != TARGET},
            value=float(said.values[at]),
            lower=float(said.interval.lower[at]),
            upper=float(said.interval.upper[at]),
            level=DEFAULT_CONFIDENCE,
            request_id="year",
            latency_us=100.0,
        )

    def live(self, *, trains: bool) -> Vector:
        """Whether each answer of the year held the truth, (n,)."""
        held: list[bool] = []
        for start in range(0, len(self.rows), NIGHT):
            rows = range(start, min(start + NIGHT, len(self.rows)))
            with closing(open_records(self.settings)) as records:
                held += self.day(rows, records)
                told = [] if trains else self.copies(records)
            if trains:
                told = self.script("retrain.py", "--rollout").splitlines()
            for line in told:
                if " replaces " in line or "advance" in line:
                    print(f"after {rows.stop:,} outcomes: {line[:150]}", flush=True)
        return np.array(held, dtype=float)

    def copies(self, records: Records) -> list[str]:
        """What `retrain.py --rollout --recalibrate` does, without the seconds of its start."""
        now, stores = written(datetime.now(UTC)), self.stores
        post = Post(self.problem, stores.champion, stores.artifacts, "year", now)
        return list(post.watch(records).told)

    def alone(self) -> Vector:
        """The same of the first champion."""
        first = self.stores.artifacts.load("bikes", Version.parse("v1.0.0"))
        outputs = run(first.graph, self.matrix)
        interval = first.calibration.predict(outputs, DEFAULT_CONFIDENCE)[1]
        return np.asarray((interval.lower <= self.truth) & (self.truth <= interval.upper))

    def mistakes(self, years: int) -> int:
        """In how many years of rows in random order the first champion loses its place."""
        first = self.stores.artifacts.load("bikes", Version.parse("v1.0.0"))
        rng = np.random.default_rng(0)
        return sum(self.is_replaced(first, rng) for _ in range(years))

    def is_replaced(self, first: Artifact, rng: np.random.Generator) -> bool:
        """The champion is calibrated by some of these rows, so that it holds on all of them."""
        order = rng.permutation(len(self.rows))
        table = Table(
            self.matrix[order],
            self.truth[order],
            groups=np.arange(len(order)),
            times=np.arange(len(order), dtype=float),
            source="bikes",
        )
        origin = Origin(Version.parse("v1.0.1-rc.1"), FOREVER, seed=0)
        champion = by_newest(first, table.take(slice(0, 2_000)), 4_000, origin=origin)
        for attempt in range(1, SUCCESSIVE + 1):
            at = 2_000 + attempt * NIGHT
            copy = by_newest(first, table.take(slice(at - WINDOW, at)), NIGHT, origin=origin)
            rows = table.take(slice(at, at + NIGHT))
            if compared(self.problem, champion, copy, rows=rows, attempt=attempt):
                return True
        return False


def windows(held: Vector) -> Vector:
    starts = range(BEGIN, len(held) - WINDOW + 1, WINDOW)
    return np.array([held[start : start + WINDOW].mean() for start in starts])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.year --data kaggle_bike_train.csv",
    )
    parser.add_argument("--data", type=Path, default=BIKES, help="the table of bike rentals")
    parser.add_argument("--undated", action="store_true", help="without the day number")
    parser.add_argument("--recalibrate", action="store_true", help="train no challengers: a minute")
    parser.add_argument("--years", type=int, default=60, help="in random order")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="year-") as place:
        year = Year(bikes(arguments.data, is_dated=not arguments.undated), Path(place))
        held = year.live(trains=not arguments.recalibrate)
        past = Counter(event.action for event in year.stores.champion.history())
        kept, alone, wrong = windows(held), windows(year.alone()), year.mistakes(arguments.years)
    print(f"\n{'outcomes':>14}{'answered':>10}{'left alone':>12}")
    for number, (one, other) in enumerate(zip(kept, alone, strict=True)):
        first = BEGIN + number * WINDOW
        print(f"{first:>7,}-{first + WINDOW:<6,}{one:>10.1%}{other:>12.1%}")
    print(f"{'all of them':>14}{kept.mean():>10.1%}{alone.mean():>12.1%}")
    print(", ".join(f"{count} {action}" for action, count in past.items()))
    is_seldom = stats.binomtest(wrong, arguments.years).proportion_ci().low <= ALPHA
    print(f"replaced by one of {SUCCESSIVE} equal copies: {wrong} of {arguments.years} years")
    holds = kept.min() >= ASKED
    print(f"every {WINDOW} outcomes cover at least {ASKED:.0%}: {'yes' if holds else 'NO'}")
    print(f"  {time.perf_counter() - start:4.0f} s", file=sys.stderr)
    return 0 if holds and is_seldom else 1


if __name__ == "__main__":
    sys.exit(main())
