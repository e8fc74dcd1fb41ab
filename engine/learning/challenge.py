"""A challenger and its trial: judged on rows that neither it nor the champion has seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.contract import same_contract
from engine.domain.errors import NothingToJudge
from engine.domain.problem import Problem
from engine.domain.schema import Matrix, Vector
from engine.judging.evidence import Check, Evidence, ModelAnswers
from engine.judging.gate import FEWEST_JUDGED, Verdict, judge, too_few
from engine.judging.intervals import covered, slices_of
from engine.learning.train import Origin, Progress, train_all
from engine.model.model import Model
from engine.tables.split import Rows, Split, calibration_share_of, hold_out, split
from engine.tables.table import FEWEST_ROWS, Table, row_hashes

JUDGED_SHARE = 0.2
"""Share of the table that judges, if that much is new to the champion."""
_LATENCY_ROUNDS = 1_000


@dataclass(frozen=True, eq=False)
class Trial:
    """A challenger and the verdict; no evidence where there was no champion to compare it with."""

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

    Raises NothingToJudge when fewer than FEWEST_JUDGED rows are new to the champion, or an event
    hardly happens in them.
    """
    rest, judged = unseen(table, champion, origin.seed)
    refuse_rare(problem, table.take(judged))
    challenger = train_all(
        problem,
        table,
        _split_rest(table, rest, judged, seed=origin.seed),
        origin=origin,
        progress=progress,
    )[0]
    evidence = compare(
        problem, table.take(judged), champion, challenger=challenger, attempt=attempt
    )
    return Trial(noted(challenger, evidence), evidence, judge(evidence))


def noted(challenger: Artifact, evidence: Evidence) -> Artifact:
    """With the share of judged rows where it agrees with the champion: its value lies inside the
    champion's interval. A roll-out that sees much less of that sees other rows than these."""
    agreement = float(covered(evidence.champion.interval, evidence.challenger.values).mean())
    found = {"rows": float(len(evidence.truth)), "agreement": agreement}
    metrics = {**challenger.card.metrics, "judged": found}
    return replace(challenger, card=challenger.card.model_copy(update={"metrics": metrics}))


def succeed(problem: Problem, table: Table, *, origin: Origin, progress: Progress) -> Trial:
    """A model for a contract the champion does not know: there is nothing to compare it with."""
    parts = split(table, origin.seed)
    challenger = train_all(problem, table, parts, origin=origin, progress=progress)[0]
    asked = Check("contract", True, "changed, and allowed", "--yes-major")
    sentence = "Promote: the contract changed and a new major version was allowed; not compared."
    return Trial(challenger, None, Verdict(True, sentence, (asked,), alpha=0.0))


def unseen(table: Table, champion: Artifact, seed: int) -> tuple[Rows, Rows]:
    """Row numbers to learn from, and to judge on: the newest that are new to the champion.

    New is a row that the champion has not seen, nor one of the same group; the challenger learns
    from no row of those groups. Duplicates are judged once. All of this goes by features, groups
    and times, never by the target: the rows that judge have the outcomes that such rows have.
    """
    fresh = fresh_rows(table, champion)
    wanted = round(JUDGED_SHARE * len(table))
    if len(fresh) > wanted:
        fresh = newest(table, fresh, wanted, seed=seed)
    names = np.column_stack((table.groups, row_hashes(table).view(np.int64)))[fresh]
    judged = fresh[np.sort(np.unique(names, axis=0, return_index=True)[1])]
    rest = np.flatnonzero(~np.isin(table.groups, table.groups[fresh]))
    if len(judged) < FEWEST_JUDGED or len(rest) < FEWEST_ROWS:
        raise NothingToJudge(
            f"{table.source}: of {len(table)} rows, {len(judged)} are new to the champion and can "
            f"judge (at least {FEWEST_JUDGED} are needed); {len(rest)} are left to learn from "
            f"(at least {FEWEST_ROWS} are needed)"
        )
    return rest, judged


def refuse_rare(problem: Problem, judged: Table) -> None:
    """Raises NothingToJudge for rows of which the gate would say the same after the training."""
    for few in too_few(problem.target.kind, judged.target):
        raise NothingToJudge(
            f"{judged.source}: of {len(judged)} rows that may judge {problem.target.name}, "
            f"{few.figure} (asked for: {few.rule})"
        )


def fresh_rows(table: Table, champion: Artifact) -> Rows:
    seen = _seen_before(table, champion)
    return np.flatnonzero(~np.isin(table.groups, table.groups[seen]))


def _seen_before(table: Table, champion: Artifact) -> NDArray[np.bool_]:
    """Of the rows with the same features, as many as the champion has seen, the oldest (n,).

    Where the features have few different values, many rows are equal, and only their number shows
    that some are new. A table of new rows alone then loses some of them.
    """
    numbers = row_hashes(table)
    order = np.arange(len(table)) if table.times is None else np.argsort(table.times, kind="stable")
    place = np.empty(len(table), dtype=np.int64)
    place[order] = pd.Series(numbers[order]).groupby(numbers[order]).cumcount()
    known, counts = np.unique(champion.seen, return_counts=True)
    at = np.searchsorted(known, numbers).clip(max=len(known) - 1)
    return np.asarray(place < np.where(known[at] == numbers, counts[at], 0))


def newest(table: Table, rows: Rows, wanted: int, *, seed: int) -> Rows:
    """The last by time, or some at random, by group, where the table has no times."""
    if table.times is None:
        return rows[hold_out(table.take(rows), wanted / len(rows), seed)[1]]
    return rows[np.argsort(table.times[rows], kind="stable")[-wanted:]]


def _split_rest(table: Table, rest: Rows, judged: Rows, *, seed: int) -> Split:
    learned = table.take(rest)
    share = calibration_share_of(learned.target)
    fit, calibration = hold_out(learned, share, seed + 1)
    return Split(rest[fit], rest[calibration], judged)


def compare(
    problem: Problem, judged: Table, champion: Artifact, *, challenger: Artifact, attempt: int
) -> Evidence:
    """Both models' answers on the judged rows, through their compiled graphs."""
    models = [Model.of(artifact) for artifact in (champion, challenger)]
    speeds = _latencies_us(models, judged.rows[:1])
    old, new = (
        _answers(model, judged.rows, speed) for model, speed in zip(models, speeds, strict=True)
    )
    return Evidence(
        champion=old,
        challenger=new,
        truth=judged.target,
        sliced=slices_of(problem.schema.names, problem.slices, judged.rows),
        attempt=attempt,
        same_contract=same_contract(problem, champion.card),
        parity=True,
        kind=problem.target.kind,
    )


def _latencies_us(models: Sequence[Model], row: Matrix) -> list[float]:
    """How long one prediction takes as it is served, of each in turn: speeds drift."""
    times = np.empty((_LATENCY_ROUNDS, len(models)))
    for turn in range(_LATENCY_ROUNDS):
        for number, model in enumerate(models):
            start = perf_counter()
            model.predict(row, DEFAULT_CONFIDENCE)
            times[turn, number] = perf_counter() - start
    return [float(1e6 * typical) for typical in _typical(times)]


def _typical(times: Matrix) -> Vector:
    """Of rounds (n, models), each model's time (models,): the first one's median, and that of the
    others relative to it in the same round. On a busy machine medians of their own would tell whose
    half was the slow one."""
    first = times[:, :1]
    return np.asarray(np.median(first) * np.median(times / first, axis=0))


def _answers(model: Model, rows: Matrix, latency_us: float) -> ModelAnswers:
    said = model.predict(rows, DEFAULT_CONFIDENCE)
    return ModelAnswers(said.values, said.interval, model.predictor.calibration.rows, latency_us)
