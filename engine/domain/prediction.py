"""Predictions as columns: one array a quantity, however many rows were asked about."""

from dataclasses import dataclass

from engine.domain.schema import Vector


@dataclass(frozen=True)
class Interval:
    """Lower and upper bounds, one a row, at a stated confidence."""

    lower: Vector
    upper: Vector
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of n rows, in the target's unit."""

    values: Vector
    interval: Interval
    warnings: list[list[str]]


@dataclass(frozen=True)
class Answer:
    """A prediction with what the reply must carry besides: one id and one version a row, a time."""

    ids: list[str]
    versions: list[str]
    prediction: Prediction
    predicted_at: str
