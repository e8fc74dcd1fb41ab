"""Train one candidate from a checked table to a verified artifact."""

import io
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed

import joblib
import numpy as np

from engine.domain.artifact import Artifact, Feature, Golden, ModelCard
from engine.domain.conformal import DEFAULT_CONFIDENCE, Calibration
from engine.domain.errors import UntrustedArtifact
from engine.domain.prediction import Interval
from engine.domain.problem import Problem
from engine.domain.schema import Matrix, Vector
from engine.domain.version import Version
from engine.learning import fit as fitting
from engine.learning.compile import disagreement, run
from engine.learning.data import Table
from engine.learning.estimators import Candidate
from engine.learning.evaluate import evaluate, slices_of
from engine.learning.fit import Fitted, Tell, calibrate, fit
from engine.learning.split import Split, split

STEPS = fitting.STEPS + 3
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


def train(
    problem: Problem, table: Table, candidate: Candidate, *, origin: Origin, tell: Tell
) -> Artifact:
    """Split, fit, prove parity, calibrate, evaluate, package.

    Raises UnusableTable when there is nothing to learn a distribution from.
    """
    parts = split(table, origin.seed)
    fitted = fit(table.take(parts.fit), candidate, seed=origin.seed, tell=tell)
    tell("parity")
    prove_parity(problem, table, fitted, origin.seed)
    tell("calibration")
    calibration = calibrate(fitted, table.take(parts.calibration))
    tell("evaluation")
    metrics = {
        name: measure(problem, table.take(rows), fitted, calibration)
        for name, rows in (
            ("train", parts.fit),
            ("calibration", parts.calibration),
            ("test", parts.test),
        )
    }
    card = describe(problem, table, candidate, origin=origin, parts=parts, metrics=metrics)
    return package(card, fitted, calibration, table.rows[parts.test[:GOLDEN_ROWS]])


def prove_parity(problem: Problem, table: Table, fitted: Fitted, seed: int) -> None:
    """Raises UntrustedArtifact unless graph and estimators agree on the table, on random points
    between the declared bounds, and on values next to each other in float32."""
    rng = np.random.default_rng(seed)
    low = [column.low for column in problem.schema.columns]
    high = [column.high for column in problem.schema.columns]
    anywhere = rng.uniform(low, high, (PARITY_ROWS, len(low)))
    inside = rng.uniform(table.rows.min(axis=0), table.rows.max(axis=0), anywhere.shape)
    near = np.nextafter(inside.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    for rows in (table.rows, anywhere, inside, near):
        difference = disagreement(fitted.ensembles, fitted.graph, rows)
        if not difference <= PARITY:
            raise UntrustedArtifact(f"the compiled graph differs from its source by {difference:g}")


def measure(
    problem: Problem, table: Table, fitted: Fitted, calibration: Calibration
) -> dict[str, float]:
    """The figures of a part of the table, all through the compiled graph."""
    outputs = run(fitted.graph, table.rows)

    def predict(confidence: float) -> tuple[Vector, Interval]:
        level = min(confidence, calibration.highest_confidence)
        return calibration.values(outputs), calibration.interval(outputs, level)

    sliced = slices_of(problem.schema.names, problem.slices, table.rows)
    return evaluate(predict, table.target, sliced)


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
    )


def profile(problem: Problem, table: Table) -> dict[str, dict[str, list[float]]]:
    """Twentieths of every feature and of the target: what drift is measured against."""
    columns = dict(zip(problem.schema.names, table.rows.T, strict=True))
    columns[problem.target.name] = table.target
    return {
        name: {"quantiles": np.quantile(values, PROFILE_QUANTILES).tolist()}
        for name, values in columns.items()
    }


def package(card: ModelCard, fitted: Fitted, calibration: Calibration, rows: Matrix) -> Artifact:
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
    )
