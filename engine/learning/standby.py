"""The stand-by: the champion's own trees, calibrated by the newest outcomes, ready to take over.

Where the world changes, intervals break before anything else does, and newer calibration mends
them at once: it takes a hundred outcomes, no training, and leaves the predictions as they are. So
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
from engine.domain.far import Bounds, far_better
from engine.domain.history import STANDS_BY
from engine.domain.loss import is_answer
from engine.domain.ports import Artifacts, Champion, Records
from engine.domain.problem import Problem
from engine.domain.record import DEGRADED, Joined, Question
from engine.domain.schema import BINARY
from engine.domain.traffic import SHADOW
from engine.domain.version import Version
from engine.learning.compile import run
from engine.learning.data import Table, check
from engine.learning.promote import level
from engine.learning.recalibrate import by_newest
from engine.learning.train import Origin

FEWEST = 100
"""Outcomes that calibrate a copy; and after so many new ones it makes room for a newer copy."""
LOOKED_AT = 5_000
"""No more of the newest outcomes are read."""


@dataclass(frozen=True)
class Post:
    """Where a copy stands by, and who put it there at what time (UTC, ISO 8601)."""

    problem: Problem
    champion: Champion
    artifacts: Artifacts
    who: str
    at: str

    def relieve(self, records: Records) -> str | None:
        """Make the copy champion where it has earned that; why, or None."""
        if self.champion.stamp() is None:
            return None
        self.champion.adopt(self.who)
        past = self.champion.history()
        frozen = history.standing_by(past)
        if frozen is None or frozen.challenger is None:
            return None
        try:
            copy = self.artifacts.load(self.problem.name, frozen.challenger)
        except (UnknownVersion, UntrustedArtifact):  # there will be another one
            return None
        reigning = self.champion.load()
        rows = newer(self.outcomes(records, reigning), frozen.at)
        why = compared(self.problem, reigning, copy, rows, history.copies(past))
        if why is None:
            return None
        release = history.next_patch(past, self.artifacts.versions(self.problem.name))
        self.artifacts.save(copy.named(release))
        self.champion.move(
            "promoted",
            release,
            who=self.who,
            why=why,
            after=len(past),
            challenger=frozen.challenger,
        )
        return f"{release} replaces {frozen.version} at once: {why}"

    def renew(self, records: Records) -> str | None:
        """Freeze a copy unless there is one that has seen too little, or too few outcomes are
        known; what was done."""
        past = self.champion.history()
        if self.problem.target.kind == BINARY or history.champion(past) is None:
            return None
        reigning, frozen = self.champion.load(), history.standing_by(past)
        rows = self.outcomes(records, reigning)
        if frozen is not None and len(newer(rows, frozen.at)) < FEWEST:
            return None
        if len(rows) < FEWEST:
            return f"{len(rows):,} outcomes are known, a copy that stands by takes {FEWEST}"
        last = next((one.at for one in reversed(past) if one.action == STANDS_BY), self.at)
        origin = Origin(self.name(past), self.at, seed=0)
        copy = by_newest(reigning, rows, len(newer(rows, last)), origin)
        self.artifacts.save(copy)
        why = f"calibrated by the newest {copy.calibration.rows:,} outcomes"
        version, now = Version.parse(copy.card.version), Version.parse(reigning.card.version)
        self.champion.move(
            STANDS_BY, now, who=self.who, why=why, after=len(past), challenger=version
        )
        return f"{version} stands by, {why}"

    def name(self, past: history.History) -> Version:
        taken = self.artifacts.versions(self.problem.name)
        release = history.next_patch(past, taken)
        return next(history.candidates_of(release, taken))

    def outcomes(self, records: Records, reigning: Artifact) -> Table:
        """The newest rows whose truth is known, the newest last; those of one unit are a group."""
        question = Question(self.problem.name, newest=LOOKED_AT, with_outcome=True)
        major = Version.parse(reigning.card.version).line[0]
        cells = [*told(self.problem, records.read(question), major)]
        names = [*self.problem.schema.names, self.problem.target.name, "time", "group"]
        return check(self.problem, pd.DataFrame(cells, columns=names), "records")[0]


def told(problem: Problem, joined: Iterator[Joined], major: int) -> Iterator[tuple[object, ...]]:
    """Features, truth, time and unit of every answered row that this contract can be asked."""
    seen: set[str] = set()
    for one in joined:
        record, outcome = one.record, one.outcome
        if outcome is None or record.error is not None or record.id in seen:
            continue
        if record.variant in {SHADOW, DEGRADED}:
            continue
        truth = np.array([outcome.actual])
        if Version.parse(record.version).line[0] != major or not is_answer(
            problem.target.kind, truth
        ):
            continue
        seen.add(record.id)
        features = (record.row.get(name) for name in problem.schema.names)
        time = datetime.fromisoformat(record.at).timestamp()
        yield (*features, outcome.actual, time, record.unit)


def newer(rows: Table, than: str) -> Table:
    assert rows.times is not None  # noqa: S101 - records have them
    return rows.take(rows.times > datetime.fromisoformat(than).timestamp())


def compared(
    problem: Problem, reigning: Artifact, copy: Artifact, rows: Table, attempt: int
) -> str | None:
    """Why the copy takes the champion's place, if it does; both have the same trees."""
    if not len(rows):
        return None
    outputs = run(reigning.graph, rows.rows)
    level_of_all = np.full(len(rows), DEFAULT_CONFIDENCE)
    old, new = (
        Bounds(found.lower, found.upper, level_of_all)
        for found in (
            one.calibration.predict(outputs, DEFAULT_CONFIDENCE)[1] for one in (reigning, copy)
        )
    )
    return far_better(problem.target.kind, rows.groups, rows.target, old, new, alpha=level(attempt))
