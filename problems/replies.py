"""What the replies of several problems say alike."""

from typing import Annotated

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from engine.domain.prediction import Prediction

_DECIMALS = 6
_SMALLEST = 10.0**-_DECIMALS

Key = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name the caller gives, without control characters, which not every database keeps; wrap it with
a description."""
Echo = Annotated[str, Field(description="As in the request. Unit: none.")]
Time = Annotated[
    str, Field(description="Unit: UTC, ISO 8601.", examples=["2026-01-01T12:00:00.000Z"])
]
Level = Annotated[
    float, Field(description="How often such an interval holds. Unit: share.", examples=[0.9])
]
PredictionId = Annotated[str, Field(description="Names this prediction for good. Unit: none.")]
ModelVersion = Annotated[
    str, Field(description="Version that answered. Unit: none.", examples=["v1.0.0"])
]
Warnings = Annotated[list[str], Field(description="Reasons to trust the answer less. Unit: none.")]


class Told(TypedDict):
    """Where a prediction comes from, and what speaks against it."""

    prediction_id: PredictionId
    model_version: ModelVersion
    warnings: Warnings


class ProbabilityInterval(TypedDict):
    """Where the true probability lies, of rows that the model scores like this one."""

    lower: Annotated[float, Field(description="Lower bound. Unit: probability.", examples=[0.19])]
    upper: Annotated[float, Field(description="Upper bound. Unit: probability.", examples=[0.26])]
    confidence: Level


def chances(prediction: Prediction) -> tuple[list[float], list[ProbabilityInterval]]:
    """Of each row the probability and the bounds around it, rounded."""
    values, lower, upper = chance_columns(prediction)
    bounds: list[ProbabilityInterval] = [
        {"lower": low, "upper": high, "confidence": prediction.interval.confidence}
        for low, high in zip(lower, upper, strict=True)
    ]
    return values, bounds


def chance_columns(prediction: Prediction) -> tuple[list[float], list[float], list[float]]:
    """The probabilities, the lower and the upper bounds, rounded.

    Rounding makes no probability 0 or 1, and leaves it between its bounds.
    """
    values = prediction.values.round(_DECIMALS).clip(_SMALLEST, 1 - _SMALLEST)
    lower = np.minimum(prediction.interval.lower.round(_DECIMALS), values)
    upper = np.maximum(prediction.interval.upper.round(_DECIMALS), values)
    return values.tolist(), lower.tolist(), upper.tolist()
