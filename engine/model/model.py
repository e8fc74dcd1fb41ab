"""One version in memory: what it says of rows, and how it is verified before it may serve."""

import time
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.artifact import Artifact, ModelCard, reproduces
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.contract import differences, same_contract
from engine.domain.errors import UntrustedArtifact
from engine.domain.prediction import Prediction
from engine.domain.problem import Problem
from engine.domain.schema import Matrix, Vector
from engine.model.runtime import Predictor

_INLINE_SECONDS = 0.001
"""Work up to this long is done on the event loop; a hop to a thread costs about a fifth of it."""
_TIMINGS = 3
"""The fastest run counts: the slower ones measure what else the machine does."""


@dataclass(frozen=True, eq=False)
class Model:
    """One version, ready to answer; everything a request reads is frozen."""

    card: ModelCard
    predictor: Predictor
    low: Vector
    high: Vector
    loaded_at: str = ""
    inline_rows: int = 1

    @classmethod
    def of(cls, artifact: Artifact, loaded_at: str = "") -> "Model":
        """As it is; `serve` checks it first."""
        features = artifact.card.features
        return cls(
            card=artifact.card,
            predictor=Predictor(artifact.graph, artifact.calibration),
            low=np.array([-np.inf if f.categories else f.low for f in features]),
            high=np.array([np.inf if f.categories else f.high for f in features]),
            loaded_at=loaded_at,
        )

    @property
    def highest_confidence(self) -> float:
        return self.predictor.calibration.highest_confidence

    def predict(self, rows: Matrix, confidence: float) -> Prediction:
        """Values and intervals for encoded rows (n, features), in the target's unit.

        Raises UnsupportedConfidence for a level the calibration rows cannot vouch for.
        """
        warnings = self._warnings(rows)
        values, interval = self.predictor.predict(rows, confidence)
        return Prediction(values, interval, warnings)

    def predict_widely(self, rows: Matrix, confidence: float) -> Prediction:
        """The same for fallback rows (n, features), whose true features are unknown: wider bounds
        that cover all the same."""
        values, bounds = self.predictor.predict_widely(rows, confidence)
        return Prediction(values, bounds, [[] for _ in rows])

    def _warnings(self, rows: Matrix) -> list[list[str]]:
        """For each row of (n, features), the numbers outside of the range seen in training. Where
        there is nothing to say, all rows share one list."""
        outside = (rows < self.low) | (rows > self.high)
        if not outside.any():
            return [[]] * len(rows)
        warnings: list[list[str]] = [[] for _ in range(len(rows))]
        for row, column in np.argwhere(outside):
            feature = self.card.features[column]
            warnings[row].append(
                f"{feature.name} {rows[row, column]:g} is outside the range seen in training, "
                f"{feature.low:g} to {feature.high:g} {feature.unit}: trust the answer less"
            )
        return warnings


def serve(artifact: Artifact, problem: Problem, loaded_at: str) -> Model:
    """Compile, ask the golden rows, and only then call it a served model.

    Raises UntrustedArtifact when it was made for another contract, when an answer differs, and
    when it cannot answer at all, for whatever reason: a file can hold anything.
    """
    card = artifact.card
    refuse_other_contract(card, problem)
    served = Model.of(artifact, loaded_at)
    try:
        return _timed(served, _checked(served, artifact))
    except UntrustedArtifact:
        raise
    except Exception as error:
        raise UntrustedArtifact(f"{artifact.card.version} cannot answer: {error}") from error


def refuse_other_contract(card: ModelCard, problem: Problem) -> None:
    """Raises UntrustedArtifact, with what differs, for a model that was made for other terms than
    this process validates and answers by."""
    if not same_contract(problem, card):
        raise UntrustedArtifact(
            f"{card.version} has another contract ({differences(problem, card)}); "
            "restart the service to serve a champion with another contract"
        )


def _checked(served: Model, artifact: Artifact) -> Matrix:
    golden = artifact.golden
    answer = served.predict(golden.rows, DEFAULT_CONFIDENCE)
    if not reproduces(golden, answer.values, answer.interval.lower, upper=answer.interval.upper):
        raise UntrustedArtifact(
            f"{artifact.card.version} does not reproduce its golden answers on this machine"
        )
    return golden.rows


def _timed(served: Model, rows: Matrix) -> Model:
    """Measure how many rows (n, features) can be answered before the event loop is blocked too
    long."""
    times = []
    for _ in range(_TIMINGS):
        start = time.perf_counter()
        served.predict(rows, DEFAULT_CONFIDENCE)
        times.append(time.perf_counter() - start)
    return replace(served, inline_rows=int(_INLINE_SECONDS * len(rows) / min(times)))
