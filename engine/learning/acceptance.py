"""May a model that was just trained be champion? Where its intervals hold on rows it has not seen.

Coverage of the judging rows is tested with the noise of these and of the calibration rows; of an
event its probabilities are. What fails is calibrated anew on the older half of the judging rows and
tested on the newer half: where things change slowly that is enough. A model that fails again fits
only the past, and a person must decide whether to use it.
"""

from dataclasses import dataclass, replace

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.errors import NothingToJudge, UnusableTable
from engine.domain.problem import Problem
from engine.judging.evidence import ModelAnswers
from engine.judging.kinds import JUDGES
from engine.learning.recalibrate import recalibrated, with_calibration
from engine.learning.train import Origin, measure
from engine.model.runtime import Predictor
from engine.tables.split import Split, hold_out
from engine.tables.table import Table

_CHANCE = 0.001
"""The probability that a model whose intervals hold is rejected by chance."""
_FEWEST_HALF = 50


@dataclass(frozen=True, eq=False)
class Acceptance:
    """The model, perhaps with another calibration, the rows that judged it last, and whether it was
    calibrated anew. Its card has a `shortfall` where it did not hold."""

    artifact: Artifact
    judged: Table
    is_recalibrated: bool = False

    @property
    def holds(self) -> bool:
        return self.artifact.card.shortfall is None


def examine(
    problem: Problem, table: Table, parts: Split, *, artifact: Artifact, origin: Origin
) -> Acceptance:
    """Test what a model says of the rows that judge it, and mend its calibration if need be."""
    judged = table.take(parts.test)
    shortfall = _shortfall_of(problem, artifact, judged)
    if shortfall is None:
        return Acceptance(artifact, judged)
    try:
        mended, newest = _recalibrate_on_newest(
            problem, table, parts, artifact=artifact, origin=origin
        )
    except (NothingToJudge, UnusableTable):  # too few rows for two halves
        return Acceptance(_with_shortfall(artifact, shortfall), judged)
    shortfall = _shortfall_of(problem, mended, newest)
    return Acceptance(_with_shortfall(mended, shortfall), newest, is_recalibrated=True)


def _shortfall_of(problem: Problem, artifact: Artifact, judged: Table) -> str | None:
    """What is wrong in words, where chance makes it so wrong less often than CHANCE."""
    predictor = Predictor(artifact.graph, artifact.calibration)
    values, interval = predictor.predict(judged.rows, DEFAULT_CONFIDENCE)
    which = "test" if judged.times is None else "newest"
    answers = ModelAnswers(values, interval, artifact.calibration.rows)
    judge = JUDGES[problem.target.kind]
    promise = judge.promise(answers, judged.target, f"{which} {len(judged):,} rows")
    return None if promise.p_value >= _CHANCE else promise.seen


def _recalibrate_on_newest(
    problem: Problem, table: Table, parts: Split, *, artifact: Artifact, origin: Origin
) -> tuple[Artifact, Table]:
    """The same trees calibrated by the older half of the judging rows, with the figures of the
    newer half, and that half. Raises NothingToJudge or UnusableTable where rows are too few."""
    if len(parts.test) < 2 * _FEWEST_HALF:
        raise NothingToJudge(f"{len(parts.test)} rows are too few for two halves")
    older, newer = hold_out(table.take(parts.test), 0.5, origin.seed)
    halves = {"calibration": table.take(parts.test[older]), "test": table.take(parts.test[newer])}
    calibration = recalibrated(problem, artifact, halves["calibration"])
    mended = with_calibration(artifact, calibration, halves["calibration"], origin=origin)
    figures = {
        part: measure(problem, rows, artifact.graph, calibration=calibration)
        for part, rows in halves.items()
    }
    metrics = {**artifact.card.metrics, **figures}
    card = mended.card.model_copy(update={"metrics": metrics})
    return replace(mended, card=card), halves["test"]


def _with_shortfall(artifact: Artifact, shortfall: str | None) -> Artifact:
    card = artifact.card.model_copy(update={"shortfall": shortfall})
    return replace(artifact, card=card)


def advice(judged: Table) -> str:
    """What somebody can do about a shortfall."""
    if judged.times is None:
        return (
            "name the column that says when with --time, give rows that belong together one "
            "`group`, or add rows"
        )
    return (
        "the newest rows differ from those that were learned from: train on newer ones only, or "
        "add a column that follows the change"
    )
