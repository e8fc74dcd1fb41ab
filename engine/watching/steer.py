"""One look at a roll-out: what was seen since its stage began, and the step that follows from it.

All a look needs is in the history, the records and the candidate's card, and every step is one
event of the history: a look may come late, be repeated, or die anywhere.
"""

from dataclasses import dataclass

from engine.domain import history
from engine.domain.arrange import arrange
from engine.domain.errors import InvalidTraffic, Outpaced
from engine.domain.history import History
from engine.domain.ports import Artifacts, Champion, Records
from engine.domain.record import Question
from engine.domain.version import Version
from engine.watching.compare import report
from engine.watching.comparison import Comparison
from engine.watching.rollout import (
    ADVANCE,
    LEVEL,
    ROLL_BACK,
    STAGES,
    STOPPED,
    Rollout,
    Stage,
    Step,
    decide,
    following,
    under_way,
)

LOOKED_AT = 50_000
"""The newest so many records of a stage are enough for its figures."""


@dataclass(frozen=True)
class Helm:
    """Who steers the roll-outs of a problem."""

    problem: str
    champion: Champion
    artifacts: Artifacts
    who: str

    def start(self, candidate: Version, why: str, revision: int) -> None:
        """Make a registered candidate a shadow; raises what `arrange` raises."""
        self._enter(STAGES[0], candidate, why=why, revision=revision)

    def step(self, records: Records) -> Step:
        """Look, decide, act; raises Outpaced, and changes nothing, when the history grew meanwhile
        or no roll-out is under way."""
        past = self.champion.history()
        rollout = under_way(past)
        if rollout is None:
            raise Outpaced("no roll-out is under way any more; look again")
        judged = self.artifacts.load(self.problem, rollout.candidate).card.metrics.get("judged", {})
        seen = look(self.problem, past, rollout, records)
        taken = decide(rollout.stage, seen, judged.get("agreement", 0.0))
        if taken.move == ROLL_BACK:
            self._enter(None, rollout.candidate, why=taken.reason, revision=len(past))
        if taken.move == ADVANCE:
            self._advance(rollout, past, taken.reason)
        return taken

    def _advance(self, rollout: Rollout, past: History, why: str) -> None:
        after, candidate = following(rollout.stage), rollout.candidate
        if after is not None:
            self._enter(after, candidate, why=why, revision=len(past))
            return
        release = release_of(candidate, past, self.artifacts.versions(self.problem))
        self.artifacts.save(self.artifacts.load(self.problem, candidate).named(release))
        self.champion.move(
            "promoted", release, who=self.who, why=why, after=len(past), challenger=candidate
        )

    def _enter(self, stage: Stage | None, candidate: Version, *, why: str, revision: int) -> None:
        """The candidate at a stage, or at none."""
        arrange(
            self.champion,
            self.artifacts.versions(self.problem),
            [] if stage is None else [stage.wish(candidate)],
            who=self.who,
            why=why,
            revision=revision,
            action=STOPPED if stage is None else stage.action,
            challenger=candidate,
        )


def refuse_beside_others(past: History) -> None:
    """Raises InvalidTraffic while somebody's own variants are asked: a roll-out would end them."""
    if history.traffic(past).variants and under_way(past) is None:
        raise InvalidTraffic(
            "variants were set by hand, and a roll-out would take their place; end them first: "
            "python deployment.py clear"
        )


def release_of(candidate: Version, past: History, taken: list[Version]) -> Version:
    """A patch where the candidate only recalibrates the champion's own line, else a minor."""
    now = history.champion(past)
    same_line = now is not None and now.line == candidate.line
    return (history.next_patch if same_line else history.next_minor)(past, taken)


def look(problem: str, past: History, rollout: Rollout, records: Records) -> Comparison:
    """What was seen of the candidate beside the champion since its stage began."""
    now = history.champion(past)
    assert now is not None  # noqa: S101 - a roll-out is beside a champion
    question = Question(
        problem,
        since=rollout.since,
        versions=(str(now), str(rollout.candidate)),
        newest=LOOKED_AT,
    )
    traffic, seen = history.traffic(past), records.read(question)
    return report(traffic, now, rollout.since, seen, alpha=LEVEL).comparisons[0]
