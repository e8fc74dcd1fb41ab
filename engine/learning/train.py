"""Train one candidate from a checked table to a verified artifact."""

import io
import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version as installed

import joblib
import numpy as np
from numpy.typing import NDArray

from engine.domain.artifact import Artifact, Feature, Golden, ModelCard
from engine.domain.conformal import DEFAULT_CONFIDENCE, Calibration
from engine.domain.effort import FAST, Effort
from engine.domain.errors import UnusableTable
from engine.domain.problem import Problem
from engine.domain.schema import Matrix
from engine.domain.venn_abers import VennAbers
from engine.domain.version import Version
from engine.judging.intervals import slices_of
from engine.judging.kinds import JUDGES
from engine.learning.estimators import Candidate
from engine.learning.fit import Fitted, Tell, calibrate
from engine.learning.kinds import LEARNERS
from engine.learning.parity import prove_parity
from engine.learning.refuse import refuse_parts
from engine.model.runtime import Predictor
from engine.tables.split import Split
from engine.tables.table import Table, row_hashes

Progress = Callable[[str, int], AbstractContextManager[Tell]]
"""Called with an algorithm and its number of steps; gives what is told of each."""
_GOLDEN_ROWS = 64
_PROFILE_QUANTILES = tuple(np.linspace(0, 1, 21).round(2).tolist())
_LIBRARIES = ("joblib", "numpy", "onnx", "onnxruntime", "scikit-learn")


@dataclass(frozen=True)
class Origin:
    """What the card says that the data does not: version, time, seed and effort."""

    version: Version
    trained_at: str
    seed: int
    effort: Effort = FAST


def train_all(
    problem: Problem, table: Table, parts: Split, *, origin: Origin, progress: Progress
) -> list[Artifact]:
    """One artifact a candidate, best first.

    They are compared by cross-fitted error on the rows they learned from: calibration rows vouch
    for the coverage of whatever is chosen, test rows only judge. Raises UnusableTable when a part
    is too poor for its work, and when the best predicts worse than one value for all.
    """
    learner, artifacts = LEARNERS[problem.target.kind], []
    candidates = learner.candidates[origin.effort]
    refuse_parts(problem, table, parts, number=candidates[0].size.folds, seed=origin.seed)
    for candidate in candidates:
        with progress(candidate.algorithm, learner.steps(candidate.size.folds) + 3) as tell:
            artifacts.append(
                train(problem, table, parts, candidate=candidate, origin=origin, tell=tell)
            )
    best, *others = sorted(artifacts, key=selection_score)
    if (skill := best.card.metrics["cross_fitted"]["skill"]) < 0:
        raise UnusableTable(
            f"{table.source}: every candidate predicts worse than one value for all rows does (the "
            f"best has a {-skill:.1%} higher loss): the columns may not tell "
            f"{problem.target.name}; add columns or rows"
        )
    return [best, *others]


def selection_score(artifact: Artifact) -> float:
    """What candidates are compared by, cross-fitted: the mean loss, or of an event the Brier score,
    which a few surprises do not decide alone."""
    name = LEARNERS[artifact.card.target_kind].chosen_by
    return artifact.card.metrics["cross_fitted"][name]


def train(
    problem: Problem,
    table: Table,
    parts: Split,
    *,
    candidate: Candidate,
    origin: Origin,
    tell: Tell,
) -> Artifact:
    """Fit, prove parity, calibrate, evaluate, package.

    Raises UnusableTable when there is nothing to learn a distribution from.
    """
    learner = LEARNERS[problem.target.kind]
    fitted = learner.fit(table.take(parts.fit), candidate, seed=origin.seed, tell=tell)
    tell("parity")
    prove_parity(problem, table, fitted.ensembles, graph=fitted.graph, seed=origin.seed)
    tell("calibration")
    calibration = calibrate(fitted.distribution, fitted.graph, table.take(parts.calibration))
    tell("evaluation")
    named = {"train": parts.fit, "calibration": parts.calibration, "test": parts.test}
    metrics = {
        name: measure(problem, table.take(rows), fitted.graph, calibration=calibration)
        for name, rows in named.items()
    }
    metrics["cross_fitted"] = dict(fitted.cross_fitted)
    card = _describe(
        problem,
        table,
        candidate,
        origin=origin,
        parts=parts,
        metrics=metrics,
        calibration_rows=calibration.rows,
    )
    seen = row_hashes(table.take(np.concatenate((parts.fit, parts.calibration))))
    golden = table.rows[parts.test[:_GOLDEN_ROWS]]
    return _package(card, fitted, calibration, rows=golden, seen=seen)


def measure(
    problem: Problem, table: Table, graph: bytes, *, calibration: Calibration | VennAbers
) -> dict[str, float]:
    """The metrics of a part of the table, all computed by the compiled graph."""
    predict = Predictor(graph, calibration).asked(table.rows)
    sliced = slices_of(problem.schema.names, problem.slices, table.rows)
    judge = JUDGES[problem.target.kind]
    highest = calibration.highest_confidence
    return judge.figures(predict, table.target, sliced, highest_confidence=highest)


def _describe(
    problem: Problem,
    table: Table,
    candidate: Candidate,
    *,
    origin: Origin,
    parts: Split,
    metrics: Mapping[str, dict[str, float]],
    calibration_rows: int,
) -> ModelCard:
    method = LEARNERS[problem.target.kind].method
    return ModelCard(
        problem=problem.name,
        version=str(origin.version),
        algorithm=candidate.algorithm,
        trained_at=origin.trained_at,
        seed=origin.seed,
        effort=origin.effort,
        target=problem.target.name,
        target_unit=problem.target.unit,
        target_kind=problem.target.kind,
        target_labels=problem.target.labels,
        features=_features(problem, table.rows[parts.fit]),
        metrics=dict(metrics),
        calibration={"method": method, "rows": calibration_rows},
        profile=_profile(problem, table.take(parts.fit)),
        data={
            "source": table.source,
            "rows": len(table),
            "fitted": len(parts.fit),
            "tested": len(parts.test),
            "sha256": table.fingerprint,
        },
        libraries={
            "python": platform.python_version(),
            **{library: installed(library) for library in _LIBRARIES},
        },
        declared=None if problem.declared is None else dict(problem.declared),
    )


def _features(problem: Problem, seen: Matrix) -> tuple[Feature, ...]:
    """Each column, with the range of what is not missing in the rows (n, features) learned from."""
    lows, highs = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
    return tuple(
        Feature(
            name=column.name,
            type=column.type,
            unit=column.unit,
            low=float(low),
            high=float(high),
            categories=column.categories,
            may_be_missing=column.may_be_missing,
        )
        for column, low, high in zip(problem.schema.columns, lows, highs, strict=True)
    )


def _profile(problem: Problem, table: Table) -> dict[str, dict[str, list[float]]]:
    """Twentieths of every feature and of the target, of what is not missing, and where something is
    the share that is: drift is measured against it."""
    columns = dict(zip(problem.schema.names, table.rows.T, strict=True))
    columns[problem.target.name] = table.target
    found = {}
    for name, values in columns.items():
        found[name] = {"quantiles": np.nanquantile(values, _PROFILE_QUANTILES).tolist()}
        missing = float(np.isnan(values).mean())
        if missing:
            found[name]["missing"] = [missing]
    return found


def _package(
    card: ModelCard,
    fitted: Fitted,
    calibration: Calibration | VennAbers,
    *,
    rows: Matrix,
    seen: NDArray[np.uint64],
) -> Artifact:
    """Put the parts together with golden rows: questions whose answers must never change."""
    values, interval = Predictor(fitted.graph, calibration).predict(rows, DEFAULT_CONFIDENCE)
    buffer = io.BytesIO()
    joblib.dump(vars(fitted.ensembles), buffer)
    return Artifact(
        card=card,
        graph=fitted.graph,
        estimator=buffer.getvalue(),
        calibration=calibration,
        golden=Golden(rows, values, interval.lower, interval.upper),
        seen=seen,
    )
