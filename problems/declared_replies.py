"""What is said of a row of somebody's own table, by the kind of its target."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import floor, log10
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from engine.domain.answer import Answer
from engine.domain.kinds import ByKind
from engine.domain.problem import Columns
from engine.domain.schema import Target
from problems.replies import Level, ProbabilityInterval, chance_columns, chances

_SIGNIFICANT = 6
"""A quantity is told to so many digits of the smallest value, or the span, that is expected."""


def _event_fields(name: str, target: Target) -> dict[str, Any]:
    likelier = Field(description=f"The likelier {target.name}. Unit: none.")
    chance = Field(description=f"That {target.name} is {_outcomes(target)[1]}. Unit: probability.")
    return {
        "prediction": Annotated[Literal[_outcomes(target)], likelier],
        "probability": Annotated[float, chance],
        "probability_interval": ProbabilityInterval,
    }


def _quantity_fields(name: str, target: Target) -> dict[str, Any]:
    expected, lower, upper = (
        Annotated[float, Field(description=f"{what}. Unit: {target.unit}.")]
        for what in (f"Expected {target.name}", "Lower bound", "Upper bound")
    )
    promise = "The truth about this very row lies in it, as often as `confidence` says."
    bounds = typed(f"{name}_Interval", promise, {"lower": lower, "upper": upper})
    return {"prediction": expected, "confidence_interval": bounds, "confidence": Level}


def typed(name: str, doc: str, fields: dict[str, Any]) -> Any:
    make: Any = TypedDict
    made = make(name, fields)
    made.__doc__ = doc
    return made


def _outcomes(target: Target) -> tuple[Any, Any]:
    """What a table calls 0 and 1."""
    return target.labels or (0, 1)


def _events_said(target: Target, answer: Answer) -> Iterator[dict[str, Any]]:
    other, happens = _outcomes(target)
    for value, bounds in zip(*chances(answer.prediction), strict=True):
        likelier = happens if value >= 0.5 else other
        yield {"prediction": likelier, "probability": value, "probability_interval": bounds}


def _event_columns(target: Target, answer: Answer) -> Columns:
    other, happens = _outcomes(target)
    values, lower, upper = chance_columns(answer.prediction)
    likelier = [happens if value >= 0.5 else other for value in values]
    return {"prediction": likelier, "probability": values, "lower": lower, "upper": upper}


def _quantities_said(target: Target, answer: Answer) -> Iterator[dict[str, Any]]:
    for value, lower, upper in answer.rounded(_digits_for(target)):
        yield {
            "prediction": value,
            "confidence_interval": {"lower": lower, "upper": upper},
            "confidence": answer.confidence,
        }


def _quantity_columns(target: Target, answer: Answer) -> Columns:
    value, lower, upper = answer.rounded_columns(_digits_for(target))
    return {"prediction": value, "lower": lower, "upper": upper}


def _digits_for(target: Target) -> int:
    """Places behind the decimal point: enough for the smallest value, or for the span."""
    scale = _SCALES[target.kind](target)
    return max(_SIGNIFICANT - 1 - floor(log10(scale)), 0)


@dataclass(frozen=True)
class _Reply:
    """What is promised of a kind of target, the fields of one row's reply, and their values."""

    promise: str
    fields: Callable[[str, Target], dict[str, Any]]
    said: Callable[[Target, Answer], Iterator[dict[str, Any]]]
    columns: Callable[[Target, Answer], Columns]


_QUANTITY = _Reply("an interval that covers", _quantity_fields, _quantities_said, _quantity_columns)
_EVENT = _Reply("a calibrated probability", _event_fields, _events_said, _event_columns)
REPLIES = ByKind(positive=_QUANTITY, real=_QUANTITY, binary=_EVENT)
_SCALES: ByKind[Callable[[Target], float]] = ByKind(
    positive=lambda target: target.low,
    real=lambda target: target.high - target.low,
    binary=lambda target: 1.0,
)
