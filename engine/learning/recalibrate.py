"""The champion's own trees with newer calibration rows: same predictions, other intervals."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE, Calibration
from engine.domain.errors import NothingToJudge
from engine.domain.problem import Problem
from engine.domain.venn_abers import VennAbers
from engine.learning.challenge import JUDGED_SHARE, Trial, compare, fresh_rows, newest, noted
from engine.learning.compile import run
from engine.learning.data import Table, row_hashes
from engine.learning.promote import FEWEST_JUDGED, Evidence, Verdict, judge
from engine.learning.train import Origin, ensembles_of, prove_parity

FEWEST_CALIBRATION = 199


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

    Raises NothingToJudge when the new rows are too few for both.
    """
    ensembles = ensembles_of(champion, allows_other_library=allows_other_library)
    prove_parity(problem, table, ensembles, champion.graph, origin.seed)
    fresh = fresh_rows(table, champion)
    if len(fresh) < FEWEST_CALIBRATION + FEWEST_JUDGED:
        raise NothingToJudge(
            f"{table.source}: {len(fresh)} rows are new to the champion; recalibration takes "
            f"{FEWEST_CALIBRATION} to calibrate and {FEWEST_JUDGED} to judge"
        )
    wanted = max(FEWEST_JUDGED, round(JUDGED_SHARE * len(fresh)))
    judged = newest(table, fresh, wanted, origin.seed)
    kept = table.take(fresh[~np.isin(table.groups[fresh], table.groups[judged])])
    scores = champion.calibration.refitted(run(champion.graph, kept.rows), kept.target)
    challenger = with_calibration(champion, scores, kept, origin)
    evidence = compare(problem, table.take(judged), champion, challenger, attempt=attempt)
    return Trial(noted(challenger, evidence), evidence, judge_recalibration(evidence))


def points_only(metrics: Mapping[str, float]) -> dict[str, float]:
    """What other scores leave as it was measured; the figures of the old intervals go."""
    kept = ("r2", "rmse", "mae", "mape", "log_error")
    return {name: value for name, value in metrics.items() if name in kept}


def judge_recalibration(evidence: Evidence) -> Verdict:
    """The point predictions are the same, so only the guardrails on the intervals decide."""
    verdict = judge(evidence)
    failed = [check for check in verdict.checks if not check.passed and check.name != "loss"]
    kept = tuple(check for check in verdict.checks if check.name != "loss")
    sentence = (
        f"Keep the champion's calibration: {failed[0].figure}."
        if failed
        else "Recalibrate: same predictions, and no objection to the new intervals."
    )
    return Verdict(not failed, sentence, kept, verdict.alpha)


def with_calibration(
    champion: Artifact, calibration: Calibration | VennAbers, table: Table, origin: Origin
) -> Artifact:
    """A copy of the champion that answers with other scores."""
    outputs = run(champion.graph, champion.golden.rows)
    interval = calibration.interval(outputs, DEFAULT_CONFIDENCE)
    facts = {
        "version": str(origin.version),
        "trained_at": origin.trained_at,
        "calibration": {**champion.card.calibration, "rows": len(table), "source": table.source},
        "metrics": {part: points_only(found) for part, found in champion.card.metrics.items()},
    }
    return replace(
        champion,
        card=champion.card.model_copy(update=facts),
        calibration=calibration,
        golden=replace(champion.golden, lower=interval.lower, upper=interval.upper),
        seen=np.union1d(champion.seen, row_hashes(table)),
    )
