"""The champion's own trees with newer calibration rows: of a quantity the same predictions with
other intervals, of an event the same order of rows with other probabilities."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE, Calibration
from engine.domain.errors import NothingToJudge
from engine.domain.problem import Problem
from engine.domain.venn_abers import VennAbers
from engine.judging.evidence import Evidence
from engine.judging.gate import FEWEST_JUDGED, Verdict, judge, sentence
from engine.learning.challenge import (
    JUDGED_SHARE,
    Trial,
    compare,
    fresh_rows,
    newest,
    noted,
    refuse_rare,
)
from engine.learning.kinds import LEARNERS
from engine.learning.parity import ensembles_of, prove_parity
from engine.learning.train import Origin
from engine.model.runtime import Predictor, run
from engine.tables.table import Table, row_hashes

_FEWEST_CALIBRATION = 199
WINDOW = 199
"""This many of the newest rows, or half of the new ones, calibrate a model that follows a changing
world: older rows mislead, fewer rows scatter too much and cannot support 99 %."""
_DOUBT = 0.003
"""The probability with which 90 % intervals may then cover less than they claim, because so few
rows calibrate them."""
_LEFT_TO_SHADOW = ("coverage", "intervals")
"""What the gate need not ask of a challenger that is calibrated again when it becomes a shadow, and
that live answers show."""


def recalibrate(
    problem: Problem,
    table: Table,
    champion: Artifact,
    *,
    origin: Origin,
    attempt: int,
    allows_other_library: bool,
) -> Trial:
    """The champion's own trees with scores from rows new to it, judged on the newest of those.

    Raises NothingToJudge when the new rows, or the events in them, are too few for both.
    """
    ensembles = ensembles_of(champion, allows_other_library=allows_other_library)
    prove_parity(problem, table, ensembles, graph=champion.graph, seed=origin.seed)
    fresh = fresh_rows(table, champion)
    if len(fresh) < _FEWEST_CALIBRATION + FEWEST_JUDGED:
        raise NothingToJudge(
            f"{table.source}: {len(fresh)} rows are new to the champion; recalibration needs "
            f"{_FEWEST_CALIBRATION} to calibrate and {FEWEST_JUDGED} to judge"
        )
    wanted = max(FEWEST_JUDGED, round(JUDGED_SHARE * len(fresh)))
    judged = newest(table, fresh, wanted, seed=origin.seed)
    kept = table.take(fresh[~np.isin(table.groups[fresh], table.groups[judged])])
    refuse_rare(problem, table.take(judged))
    scores = recalibrated(problem, champion, kept)
    challenger = with_calibration(champion, scores, kept, origin=origin)
    evidence = compare(
        problem, table.take(judged), champion, challenger=challenger, attempt=attempt
    )
    return Trial(noted(challenger, evidence), evidence, _judge_recalibration(evidence))


def recalibrated(problem: Problem, champion: Artifact, kept: Table) -> Calibration | VennAbers:
    """The champion's calibration, by these rows; raises NothingToJudge where there is one class
    only, or hardly another."""
    kept = LEARNERS[problem.target.kind].calibrating(kept)
    return champion.calibration.refitted(run(champion.graph, kept.rows), kept.target)


def by_newest(artifact: Artifact, rows: Table, new: int, *, origin: Origin) -> Artifact:
    """A model of a quantity calibrated by the newest rows, of which so many are `new`."""
    assert isinstance(artifact.calibration, Calibration)  # noqa: S101
    order = np.arange(len(rows)) if rows.times is None else np.argsort(rows.times, kind="stable")
    kept = rows.take(np.sort(order[-max(WINDOW, new // 2) :]))
    outputs = run(artifact.graph, kept.rows)
    calibration = artifact.calibration.refitted(outputs, kept.target, _DOUBT)
    return with_calibration(artifact, calibration, kept, origin=origin)


def for_shadow(trial: Trial, judged: Table, origin: Origin) -> Trial:
    """A challenger of a quantity as it is rolled out: calibrated by the newest rows that judged it,
    which it has not seen. What its intervals are worth then, live answers show."""
    checks = tuple(one for one in trial.verdict.checks if one.name not in _LEFT_TO_SHADOW)
    verdict = replace(
        trial.verdict,
        promote=all(one.passed for one in checks),
        sentence=sentence(checks),
        checks=checks,
    )
    challenger = by_newest(trial.challenger, judged, len(judged), origin=origin)
    return Trial(challenger, trial.evidence, verdict)


def _points_only(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that other scores do not change; the figures of the old intervals or
    probabilities are removed."""
    kept = ("r2", "rmse", "mae", "mape", "base_rate")
    return {name: value for name, value in metrics.items() if name in kept}


def _judge_recalibration(evidence: Evidence) -> Verdict:
    """The trees are the same, so only the guardrails decide: on the intervals, or on the
    probabilities, which must neither be shown to be wrong nor be worse by their Brier score."""
    verdict = judge(evidence)
    failed = [check for check in verdict.checks if not check.passed and check.name != "loss"]
    kept = tuple(check for check in verdict.checks if check.name != "loss")
    if failed:
        sentence = f"Keep the champion's calibration: {failed[0].figure}."
    else:
        sentence = f"Recalibrate: {LEARNERS[evidence.kind].recalibrated}."
    return Verdict(not failed, sentence, kept, verdict.alpha)


def with_calibration(
    champion: Artifact, calibration: Calibration | VennAbers, table: Table, *, origin: Origin
) -> Artifact:
    """A copy of the champion that answers with other scores."""
    predictor = Predictor(champion.graph, calibration)
    values, interval = predictor.predict(champion.golden.rows, DEFAULT_CONFIDENCE)
    facts = {
        "version": str(origin.version),
        "trained_at": origin.trained_at,
        "shortfall": None,
        "calibration": {
            **champion.card.calibration,
            "rows": calibration.rows,
            "source": table.source,
        },
        "metrics": {
            part: dict(found) if part in {"cross_fitted", "judged"} else _points_only(found)
            for part, found in champion.card.metrics.items()
        },
    }
    return replace(
        champion,
        card=champion.card.model_copy(update=facts),
        calibration=calibration,
        golden=replace(
            champion.golden,
            values=values,
            lower=interval.lower,
            upper=interval.upper,
        ),
        seen=np.sort(np.concatenate((champion.seen, row_hashes(table)))),
    )
