"""One look at a roll-out: what was seen since its stage began, and the step that follows from it.

All a look needs is in the history, the records and the candidate's card, and every step is one
event of the history: a look may come late, be repeated, or die anywhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from engine.domain import history
from engine.domain.errors import InvalidTraffic, Outpaced, UnknownVersion, UntrustedArtifact
from engine.domain.history import Action, History
from engine.domain.ports import Artifacts, Champion, Records
from engine.domain.problem import Problem
from engine.domain.record import JoinedRecord
from engine.domain.times import written
from engine.domain.traffic import Traffic
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.watching.comparison import Comparison, report
from engine.watching.recent import recent_records
from engine.watching.rollout import (
    ADVANCE,
    FIRST,
    LEVEL,
    ROLL_BACK,
    STAY,
    STOPPED,
    Rollout,
    Stage,
    Step,
    decide,
    proves,
    under_way,
)

_CLOCKS_APART_SECONDS = 10
"""Records may be newer than the look by this much: some are written while it reads."""


@dataclass(frozen=True)
class RolloutController:
    """Who steers the roll-outs of a problem."""

    problem: Problem
    champion: Champion
    artifacts: Artifacts
    who: str

    def start(self, candidate: Version, why: str, revision: int) -> None:
        """Make a registered candidate a shadow; raises what `arrange` raises."""
        self._enter(FIRST, candidate, why=why, revision=revision)

    def step(self, records: Records, now: str) -> Step:
        """Look, decide, act; `now` is the time of the look (UTC, ISO 8601). Raises Outpaced, and
        changes nothing, when the history grew meanwhile or no roll-out is under way."""
        past = self.champion.history()
        rollout = under_way(past)
        if rollout is None:
            raise Outpaced("no roll-out is in progress any more; nothing was changed")
        taken = self._decided(rollout, past, records, now=now)
        if taken.move == ROLL_BACK:
            self._enter(None, rollout.candidate, why=taken.reason, revision=len(past))
        elif taken.move != STAY:
            self._advance(rollout.candidate, past, taken)
        return taken

    def _decided(self, rollout: Rollout, past: History, records: Records, *, now: str) -> Step:
        try:
            card = self.artifacts.load(self.problem.name, rollout.candidate).card
        except (UnknownVersion, UntrustedArtifact) as error:
            return Step(ROLL_BACK, f"{rollout.stage.name}: it cannot be loaded: {error}.")
        champion, began = past[-1].version, rollout.began
        reigned = {str(event.version) for event in past[began.number - 1 :]}
        asked = {*reigned, str(rollout.candidate)}
        joined = recent_records(records, self.problem.name, since=began.at, versions=asked)
        as_one = [_under_one_name(one, reigned, champion) for one in joined]
        here = [one for one in as_one if one.record.at >= rollout.since]
        found = self._compared(past[-1].traffic, champion, here)
        if len(reigned) > 1:  # only the present one can be far off
            found = replace(
                found, far_better=self._compared(past[-1].traffic, champion, joined).far_better
            )
        is_canary = rollout.stage != FIRST
        proven = is_canary and proves(self._compared(began.traffic, champion, as_one))
        agreement = card.metrics.get("judged", {}).get("agreement")
        taken = decide(rollout.stage, found, agreement, proven=proven)
        return _in_time(taken, rollout.stage, here, now=now)

    def _compared(
        self, traffic: Traffic, champion: Version, joined: Sequence[JoinedRecord]
    ) -> Comparison:
        """The candidate, which is the only variant of this traffic, beside a champion."""
        kind = self.problem.target.kind
        return report(kind, traffic, champion, since=None, joined=joined, alpha=LEVEL).comparisons[
            0
        ]

    def _advance(self, candidate: Version, past: History, taken: Step) -> None:
        if taken.to is not None:
            self._enter(taken.to, candidate, why=taken.reason, revision=len(past))
            return
        release = _release_of(candidate, past, self.artifacts.versions(self.problem.name))
        self.artifacts.save(self.artifacts.load(self.problem.name, candidate).named(release))
        self.champion.move(
            Action.PROMOTED,
            release,
            who=self.who,
            why=taken.reason,
            after=len(past),
            challenger=candidate,
        )

    def _enter(self, stage: Stage | None, candidate: Version, *, why: str, revision: int) -> None:
        """The candidate at a stage, or at none."""
        set_variants(
            self.champion,
            self.artifacts.versions(self.problem.name),
            [] if stage is None else [stage.request(candidate)],
            who=self.who,
            why=why,
            revision=revision,
            action=STOPPED if stage is None else stage.action,
            challenger=candidate,
        )


def _under_one_name(one: JoinedRecord, reigned: Collection[str], champion: Version) -> JoinedRecord:
    """A copy that took the champion's place has the same trees: what both answered is one side."""
    if one.record.version not in reigned or one.record.version == str(champion):
        return one
    return replace(one, record=replace(one.record, version=str(champion)))


def refuse_beside_others(past: History) -> None:
    """Raises InvalidTraffic while somebody's own variants are asked: a roll-out would end them."""
    if history.traffic(past).variants and under_way(past) is None:
        raise InvalidTraffic(
            "variants were set by hand, and a roll-out would replace them; remove them first: "
            "python -m cli deployment clear"
        )


def _release_of(candidate: Version, past: History, taken: list[Version]) -> Version:
    """A patch where the candidate only recalibrates the champion's own line, else a minor."""
    now = history.champion(past)
    same_line = now is not None and now.line == candidate.line
    return (history.next_patch if same_line else history.next_minor)(past, taken)


def _in_time(taken: Step, stage: Stage, joined: Sequence[JoinedRecord], *, now: str) -> Step:
    """A stage does not advance on records of the future: the next stage would count them again."""
    latest = written(datetime.fromisoformat(now) + timedelta(seconds=_CLOCKS_APART_SECONDS))
    newest = joined[-1].record.at if joined else ""
    if taken.move != ADVANCE or newest <= latest:
        return taken
    ahead = f"the newest record is from {newest}, after this machine's time {now}: set the clocks"
    return Step(STAY, f"{stage.name}: {ahead}.")
