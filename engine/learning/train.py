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
from engine.domain.errors import UntrustedArtifact, UnusableTable
from engine.domain.prediction import Interval
from engine.domain.problem import Problem
from engine.domain.schema import Matrix, Vector
from engine.domain.version import Version
from engine.learning import fit as fitting
from engine.learning.compile import Ensembles, disagreement, run
from engine.learning.data import Table, row_hashes
from engine.learning.estimators import CANDIDATES, Candidate
from engine.learning.evaluate import evaluate, slices_of
from engine.learning.fit import Fitted, Tell, calibrate, fit
from engine.learning.split import Split

STEPS = fitting.STEPS + 3
Progress = Callable[[str, int], AbstractContextManager[Tell]]
"""Called with an algorithm and its number of steps; gives what is told of each."""
GOLDEN_ROWS = 64
PARITY = 1e-9
"""Largest difference allowed between the compiled graph and the estimators, on the log scale."""
PARITY_ROWS = 4_000
PROFILE_QUANTILES = tuple(np.linspace(0, 1, 21).round(2).tolist())
LIBRARIES = ("joblib", "numpy", "onnx", "onnxruntime", "scikit-learn")


@dataclass(frozen=True)
class Origin:
    """What the card says that the data does not: version, time and seed."""

    version: Version
    trained_at: str
    seed: int


def train_all(
    problem: Problem, table: Table, parts: Split, *, origin: Origin, progress: Progress
) -> list[Artifact]:
    """One artifact a candidate, best first.

    They are compared by cross-fitted error on the rows they learned from: calibration rows vouch
    for the coverage of whatever is chosen, test rows only judge. Raises UnusableTable when the
    best predicts worse than one price for all.
    """
    artifacts = []
    for candidate in CANDIDATES:
        with progress(candidate.algorithm, STEPS) as tell:
            artifacts.append(train(problem, table, parts, candidate, origin=origin, tell=tell))
    best, *others = sorted(artifacts, key=selection_score)
    if best.card.metrics["calibration"]["r2"] < 0:
        raise UnusableTable(f"{table.source}: every candidate predicts worse than the mean does")
    return [best, *others]


def selection_score(artifact: Artifact) -> float:
    """Mean |log error| of the location, cross-fitted."""
    return artifact.card.metrics["cross_fitted"]["log_error"]


def train(
    problem: Problem,
    table: Table,
    parts: Split,
    candidate: Candidate,
    *,
    origin: Origin,
    tell: Tell,
) -> Artifact:
    """Fit, prove parity, calibrate, evaluate, package.

    Raises UnusableTable when there is nothing to learn a distribution from.
    """
    fitted = fit(table.take(parts.fit), candidate, seed=origin.seed, tell=tell)
    tell("parity")
    prove_parity(problem, table, fitted.ensembles, fitted.graph, origin.seed)
    tell("calibration")
    calibration = calibrate(fitted.distribution, fitted.graph, table.take(parts.calibration))
    tell("evaluation")
    metrics = {
        name: measure(problem, table.take(rows), fitted, calibration)
        for name, rows in (
            ("train", parts.fit),
            ("calibration", parts.calibration),
            ("test", parts.test),
        )
    }
    metrics["cross_fitted"] = {"log_error": fitted.log_error}
    card = describe(problem, table, candidate, origin=origin, parts=parts, metrics=metrics)
    seen = row_hashes(table.take(np.concatenate((parts.fit, parts.calibration))))
    return package(card, fitted, calibration, table.rows[parts.test[:GOLDEN_ROWS]], seen)


def prove_parity(
    problem: Problem, table: Table, ensembles: Ensembles, graph: bytes, seed: int
) -> None:
    """Raises UntrustedArtifact unless graph and estimators agree on the table, on random points
    between the declared bounds, and on values next to each other in float32."""
    rng = np.random.default_rng(seed)
    low = [column.low for column in problem.schema.columns]
    high = [column.high for column in problem.schema.columns]
    anywhere = rng.uniform(low, high, (PARITY_ROWS, len(low)))
    inside = rng.uniform(table.rows.min(axis=0), table.rows.max(axis=0), anywhere.shape)
    near = np.nextafter(inside.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    for rows in (table.rows, anywhere, inside, near):
        difference = disagreement(ensembles, graph, rows)
        if not difference <= PARITY:
            raise UntrustedArtifact(f"the compiled graph differs from its source by {difference:g}")


def measure(
    problem: Problem, table: Table, fitted: Fitted, calibration: Calibration
) -> dict[str, float]:
    """The figures of a part of the table, all through the compiled graph."""
    outputs = run(fitted.graph, table.rows)

    def predict(confidence: float) -> tuple[Vector, Interval]:
        return calibration.values(outputs), calibration.interval(outputs, confidence)

    sliced = slices_of(problem.schema.names, problem.slices, table.rows)
    return evaluate(predict, table.target, sliced, calibration.highest_confidence)


def describe(
    problem: Problem,
    table: Table,
    candidate: Candidate,
    *,
    origin: Origin,
    parts: Split,
    metrics: Mapping[str, dict[str, float]],
) -> ModelCard:
    seen = table.rows[parts.fit]
    return ModelCard(
        problem=problem.name,
        version=str(origin.version),
        algorithm=candidate.algorithm,
        trained_at=origin.trained_at,
        seed=origin.seed,
        target=problem.target.name,
        target_unit=problem.target.unit,
        target_kind=problem.target.kind,
        features=tuple(
            Feature(name=column.name, unit=column.unit, low=float(low), high=float(high))
            for column, low, high in zip(
                problem.schema.columns, seen.min(axis=0), seen.max(axis=0), strict=True
            )
        ),
        metrics=dict(metrics),
        calibration={"method": "distributional conformal", "rows": len(parts.calibration)},
        profile=profile(problem, table.take(parts.fit)),
        data={
            "source": table.source,
            "rows": len(table),
            "fitted": len(parts.fit),
            "tested": len(parts.test),
            "sha256": table.fingerprint,
        },
        libraries={
            "python": platform.python_version(),
            **{library: installed(library) for library in LIBRARIES},
        },
        declared=None if problem.declared is None else dict(problem.declared),
    )


def profile(problem: Problem, table: Table) -> dict[str, dict[str, list[float]]]:
    """Twentieths of every feature and of the target: what drift is measured against."""
    columns = dict(zip(problem.schema.names, table.rows.T, strict=True))
    columns[problem.target.name] = table.target
    return {
        name: {"quantiles": np.quantile(values, PROFILE_QUANTILES).tolist()}
        for name, values in columns.items()
    }


def package(
    card: ModelCard,
    fitted: Fitted,
    calibration: Calibration,
    rows: Matrix,
    seen: NDArray[np.uint64],
) -> Artifact:
    """Put the parts together with golden rows: questions whose answers must never change."""
    outputs = run(fitted.graph, rows)
    interval = calibration.interval(outputs, DEFAULT_CONFIDENCE)
    buffer = io.BytesIO()
    joblib.dump(vars(fitted.ensembles), buffer)
    return Artifact(
        card=card,
        graph=fitted.graph,
        estimator=buffer.getvalue(),
        calibration=calibration,
        golden=Golden(rows, calibration.values(outputs), interval.lower, interval.upper),
        seen=seen,
    )


def ensembles_of(artifact: Artifact, *, allows_other_library: bool = False) -> Ensembles:
    """The estimators an artifact was compiled from.

    Raises UntrustedArtifact when scikit-learn is of another major or minor version than theirs,
    unless that is allowed: it would load them, and might answer differently.
    """
    then, now = artifact.card.libraries["scikit-learn"], installed("scikit-learn")
    if then.split(".")[:2] != now.split(".")[:2] and not allows_other_library:
        raise UntrustedArtifact(
            f"{artifact.card.version} was trained with scikit-learn {then}, this is {now}; "
            "train anew, install that version, or allow it with --other-library"
        )
    return Ensembles(**joblib.load(io.BytesIO(artifact.estimator)))
