"""A challenger and its trial: judged on rows that neither it nor the champion has seen."""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from engine.domain.artifact import Artifact, ModelCard
from engine.domain.conformal import DEFAULT_CONFIDENCE, Calibration, Outputs
from engine.domain.errors import NothingToJudge
from engine.domain.problem import Problem
from engine.domain.schema import Matrix
from engine.learning.compile import opened, run
from engine.learning.data import Table, row_hashes
from engine.learning.evaluate import (
    covered,
    point_errors,
    slices_of,
    winkler,
    worst_slice,
)
from engine.learning.fit import calibrate
from engine.learning.promote import FEWEST_JUDGED, Answers, Check, Evidence, Verdict, judge, loss
from engine.learning.split import Rows, Split, calibration_share, hold_out, split
from engine.learning.train import Origin, Progress, ensembles_of, prove_parity, train_all

JUDGED_SHARE = 0.2
"""Of the table, as far as the champion has not seen it."""
FEWEST_CALIBRATION = 199
LATENCY_ROUNDS = 1_000


@dataclass(frozen=True, eq=False)
class Trial:
    """A challenger and the verdict; no evidence where there was nobody to compare it with."""

    challenger: Artifact
    evidence: Evidence | None
    verdict: Verdict


def challenge(
    problem: Problem,
    table: Table,
    champion: Artifact,
    *,
    origin: Origin,
    attempt: int,
    progress: Progress,
) -> Trial:
    """Train the best candidate on the rows that do not judge, and judge it.

    Raises NothingToJudge when fewer than FEWEST_JUDGED rows are new to the champion.
    """
    rest, judged = unseen(table, champion, origin.seed)
    challenger = train_all(
        problem,
        table,
        split_rest(table, rest, judged, origin.seed),
        origin=origin,
        progress=progress,
    )[0]
    evidence = compare(problem, table.take(judged), champion, challenger, attempt=attempt)
    return Trial(challenger, evidence, judge(evidence))


def succeed(problem: Problem, table: Table, *, origin: Origin, progress: Progress) -> Trial:
    """A model for a contract the champion does not know: there is nothing to compare it with."""
    parts = split(table, origin.seed)
    challenger = train_all(problem, table, parts, origin=origin, progress=progress)[0]
    asked = Check("contract", True, "changed, and allowed", "--yes-major")
    sentence = "Promote: the contract changed and a new major version was allowed; not compared."
    return Trial(challenger, None, Verdict(True, sentence, (asked,), alpha=0.0))


def unseen(table: Table, champion: Artifact, seed: int) -> tuple[Rows, Rows]:
    """Row numbers to learn from, and to judge on: the newest that are new to the champion."""
    fresh = np.flatnonzero(~np.isin(row_hashes(table), champion.seen))
    wanted = round(JUDGED_SHARE * len(table))
    if len(fresh) > wanted:
        _, newest = hold_out(table.take(fresh), wanted / len(fresh), seed)
        fresh = fresh[newest]
    if len(fresh) < FEWEST_JUDGED:
        raise NothingToJudge(
            f"{table.source}: {len(fresh)} of {len(table)} rows are new to the champion; "
            f"a challenger is judged on at least {FEWEST_JUDGED}"
        )
    touched = np.isin(table.groups, table.groups[fresh])
    return np.flatnonzero(~touched), fresh


def split_rest(table: Table, rest: Rows, judged: Rows, seed: int) -> Split:
    learned = table.take(rest)
    fit, calibration = hold_out(learned, calibration_share(len(rest)), seed + 1)
    return Split(rest[fit], rest[calibration], judged)


def compare(
    problem: Problem, judged: Table, champion: Artifact, challenger: Artifact, *, attempt: int
) -> Evidence:
    """Both models' answers on the judged rows, through their compiled graphs."""
    speeds = latencies_us(champion, challenger, judged.rows[:1])
    old, new = (
        answers(artifact, run(artifact.graph, judged.rows), speed)
        for artifact, speed in zip((champion, challenger), speeds, strict=True)
    )
    return Evidence(
        champion=old,
        challenger=new,
        truth=judged.target,
        sliced=slices_of(problem.schema.names, problem.slices, judged.rows),
        attempt=attempt,
        same_contract=same_contract(problem, champion.card),
        parity=True,
    )


def latencies_us(champion: Artifact, challenger: Artifact, row: Matrix) -> list[float]:
    """The median time of one prediction with its interval, of each in turn: speeds drift."""
    calls = [opened(artifact.graph) for artifact in (champion, challenger)]
    calibrations = champion.calibration, challenger.calibration
    times = np.empty((LATENCY_ROUNDS, 2))
    for turn in range(LATENCY_ROUNDS):
        for number, (call, calibration) in enumerate(zip(calls, calibrations, strict=True)):
            start = perf_counter()
            outputs = call(row)
            calibration.values(outputs)
            calibration.interval(outputs, DEFAULT_CONFIDENCE)
            times[turn, number] = perf_counter() - start
    return [float(time) for time in 1e6 * np.median(times, axis=0)]


def side_by_side(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """What a person compares: a figure's name to the champion's and the challenger's."""
    sides = (evidence.champion, evidence.challenger)
    errors = [point_errors(side.values, evidence.truth) for side in sides]
    hits = [covered(side.interval, evidence.truth) for side in sides]
    sliced = [{"predicted": side.values, **evidence.sliced} for side in sides]
    scores = [winkler(side.interval, evidence.truth).mean() for side in sides]
    figures = {
        "mean |log error|": [f"{loss(s.values, evidence.truth).mean():.4f}" for s in sides],
        "MAE": [f"{error['mae']:,.0f}" for error in errors],
        "RMSE": [f"{error['rmse']:,.0f}" for error in errors],
        "MAPE": [f"{error['mape']:.1%}" for error in errors],
        "R2": [f"{error['r2']:.3f}" for error in errors],
        "interval score": [f"{score:,.0f}" for score in scores],
        "coverage": [f"{hit.mean():.1%}" for hit in hits],
        "worst slice": [f"{worst_slice(h, s):.1%}" for h, s in zip(hits, sliced, strict=True)],
        "latency, µs a row": [f"{side.latency_us:.0f}" for side in sides],
    }
    return {name: (old, new) for name, (old, new) in figures.items()}


def answers(artifact: Artifact, outputs: Outputs, latency_us: float) -> Answers:
    calibration = artifact.calibration
    return Answers(
        values=calibration.values(outputs),
        interval=calibration.interval(outputs, DEFAULT_CONFIDENCE),
        calibration_rows=len(calibration.held_out),
        latency_us=latency_us,
    )


def same_contract(problem: Problem, card: ModelCard) -> bool:
    """Whether a model was made for the features, units and target the problem declares today."""
    features = tuple((feature.name, feature.unit) for feature in card.features)
    declared = tuple((column.name, column.unit) for column in problem.schema.columns)
    target = (card.target, card.target_unit)
    return features == declared and target == (problem.target.name, problem.target.unit)


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
    fresh = table.take(np.flatnonzero(~np.isin(row_hashes(table), champion.seen)))
    kept, held = hold_out(fresh, JUDGED_SHARE, origin.seed)
    if len(kept) < FEWEST_CALIBRATION or len(held) < FEWEST_JUDGED:
        raise NothingToJudge(
            f"{table.source}: {len(fresh)} rows are new to the champion; recalibration takes "
            f"{FEWEST_CALIBRATION} to calibrate and {FEWEST_JUDGED} to judge"
        )
    scores = calibrate(champion.calibration.distribution, champion.graph, fresh.take(kept))
    challenger = with_calibration(champion, scores, fresh.take(kept), origin)
    evidence = compare(problem, fresh.take(held), champion, challenger, attempt=attempt)
    return Trial(challenger, evidence, judge_recalibration(evidence))


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
    champion: Artifact, calibration: Calibration, table: Table, origin: Origin
) -> Artifact:
    """A copy of the champion that answers with other scores."""
    outputs = run(champion.graph, champion.golden.rows)
    interval = calibration.interval(outputs, DEFAULT_CONFIDENCE)
    facts = {
        "version": str(origin.version),
        "trained_at": origin.trained_at,
        "calibration": {**champion.card.calibration, "rows": len(table), "source": table.source},
    }
    return replace(
        champion,
        card=champion.card.model_copy(update=facts),
        calibration=calibration,
        golden=replace(champion.golden, lower=interval.lower, upper=interval.upper),
        seen=np.union1d(champion.seen, row_hashes(table)),
    )
