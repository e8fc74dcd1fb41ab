"""The stand-by: the champion's own trees, calibrated by the newest outcomes, ready to take over.

Where the world changes, intervals break before anything else does, and newer calibration mends
them at once: it takes two hundred outcomes, no training, and leaves the predictions alone. So
every run of a roll-out freezes such a copy. The next run asks both what was answered since, the
same rows of which neither has seen the outcome, and where the champion is shown to be far off and
the copy far better (`engine.domain.far`), it is champion from then on.

The k-th copy beside one champion is tested at ALPHA * 6 / (pi^2 k^2), which sum to ALPHA: of copies
that cover no more than the champion, however many there are, any takes its place with probability
at most ALPHA.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.errors import UnknownVersion, UntrustedArtifact
from engine.domain.far import FEWEST, Bounds, FarBetter, far_better
from engine.domain.history import Action
from engine.domain.ports import Artifacts, Champion, Records
from engine.domain.problem import Problem
from engine.domain.record import JoinedRecord, RecordQuery
from engine.domain.version import Version
from engine.judging.gate import level
from engine.learning.recalibrate import WINDOW, by_newest
from engine.learning.train import Origin
from engine.model.runtime import run
from engine.tables.recorded import is_reply
from engine.tables.table import Table, check

FRESH = 100
"""After this many new outcomes a newer copy replaces the copy."""
_LOOKED_AT = 5_000
"""At most this many of the newest outcomes are read."""


@dataclass(frozen=True)
class Night:
    """What was done, in words, and whether the champion changed."""

    told: tuple[str, ...] = ()
    is_replaced: bool = False


@dataclass(frozen=True)
class Post:
    """Where a copy stands by, and who put it there at what time (UTC, ISO 8601)."""

    problem: Problem
    champion: Champion
    artifacts: Artifacts
    who: str
    at: str

    def watch(self, records: Records) -> Night:
        """The copy that stands by takes the champion's place if it has earned that, and a newer one
        its own if enough has become known. An event has no coverage, and no copy."""
        if not self.problem.target.kind.measure.has_coverage:
            return Night()
        self.champion.adopt(self.who)
        rows = self.outcomes(records)
        relieved, is_replaced = self.relieve(rows)
        return Night(tuple(filter(None, (relieved, self.renew(rows)))), is_replaced)

    def relieve(self, rows: Table) -> tuple[str, bool]:
        """The result of the comparison, and whether the copy is champion now."""
        past = self.champion.history()
        frozen = history.standing_by(past)
        if frozen is None or frozen.challenger is None:
            return "", False
        try:
            copy = self.artifacts.load(self.problem.name, frozen.challenger)
        except (UnknownVersion, UntrustedArtifact):  # there will be another one
            return "", False
        fresh = _newer(rows, frozen.at)
        found = compared(
            self.problem, self.champion.load(), copy, rows=fresh, attempt=history.copies(past)
        )
        if found is None:
            return _blind(fresh, frozen.challenger), False
        release = history.next_patch(past, self.artifacts.versions(self.problem.name))
        why = found.told(str(frozen.version), str(release))
        self.artifacts.save(copy.named(release))
        self.champion.move(
            Action.PROMOTED,
            release,
            who=self.who,
            why=why,
            after=len(past),
            challenger=frozen.challenger,
            traffic=past[-1].traffic,
        )
        return f"{release} replaces {frozen.version} at once: {why}", True

    def renew(self, rows: Table) -> str:
        """Freeze a copy, unless the present one has too few new outcomes or too few outcomes are
        known; returns what was done."""
        past = self.champion.history()
        frozen = history.standing_by(past)
        if frozen is not None and len(_newer(rows, frozen.at)) < FRESH:
            new = len(_newer(rows, frozen.at))
            return f"{frozen.challenger} stands by, {new} of {FRESH} outcomes are new"
        if len(rows) < WINDOW:
            return f"{len(rows)} outcomes are known, a copy that stands by takes {WINDOW}"
        last = next((one.at for one in reversed(past) if one.action == Action.STANDS_BY), self.at)
        origin = Origin(self.name(past), self.at, seed=0)
        copy = by_newest(self.champion.load(), rows, len(_newer(rows, last)), origin=origin)
        self.artifacts.save(copy)
        why = f"calibrated by the newest {copy.calibration.rows:,} outcomes"
        self.champion.move(
            Action.STANDS_BY,
            past[-1].version,
            who=self.who,
            why=why,
            after=len(past),
            challenger=origin.version,
        )
        return f"{origin.version} stands by, {why}"

    def name(self, past: history.History) -> Version:
        taken = self.artifacts.versions(self.problem.name)
        release = history.next_patch(past, taken)
        return next(history.candidates_of(release, taken))

    def outcomes(self, records: Records) -> Table:
        """The newest rows whose truth is known, the newest last; those of one unit are a group."""
        question = RecordQuery(self.problem.name, newest=_LOOKED_AT, with_outcome=True)
        major = self.champion.history()[-1].version.line[0]
        cells = [*_told(self.problem, records.read(question), major)]
        names = [*self.problem.schema.names, self.problem.target.name, "time", "group"]
        return check(self.problem, pd.DataFrame(cells, columns=names), "records")[0]


def _told(
    problem: Problem, joined: Iterator[JoinedRecord], major: int
) -> Iterator[tuple[object, ...]]:
    """Features, truth, time and unit of every answered row that this contract can be asked."""
    seen: set[str] = set()
    for one in joined:
        record, outcome = one.record, one.outcome
        if outcome is None or record.id in seen or not is_reply(record):
            continue
        truth = np.array([outcome.actual])
        is_truth = problem.target.kind.measure.is_outcome(truth)
        if Version.parse(record.version).line[0] != major or not is_truth:
            continue
        seen.add(record.id)
        features = (record.row.get(name) for name in problem.schema.names)
        time = datetime.fromisoformat(record.at).timestamp()
        yield (*features, outcome.actual, time, record.unit)


def _newer(rows: Table, than: str) -> Table:
    assert rows.times is not None  # noqa: S101 - records have them
    return rows.take(rows.times > datetime.fromisoformat(than).timestamp())


def _blind(rows: Table, copy: Version) -> str:
    """Why nothing can be compared, if there are enough outcomes but too few units."""
    units = len(np.unique(rows.groups))
    if len(rows) < FRESH or units >= FEWEST:
        return ""
    return (
        f"{copy} cannot be compared: it takes outcomes of {FEWEST} units (X-Unit-ID, or the key of "
        f"a row), and {len(rows):,} are of {units}"
    )


def compared(
    problem: Problem, reigning: Artifact, copy: Artifact, *, rows: Table, attempt: int
) -> FarBetter | None:
    """Why the copy takes the champion's place, if it does; both have the same trees."""
    if not len(rows):
        return None
    outputs, level_of_all = run(reigning.graph, rows.rows), np.full(len(rows), DEFAULT_CONFIDENCE)
    old, new = (
        Bounds(found.lower, found.upper, level_of_all)
        for found in (
            one.calibration.predict(outputs, DEFAULT_CONFIDENCE)[1] for one in (reigning, copy)
        )
    )
    return far_better(
        problem.target.kind, rows.groups, rows.target, old=old, new=new, alpha=level(attempt)
    )
