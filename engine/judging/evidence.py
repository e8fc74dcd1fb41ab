"""What a verdict rests on: two models' answers on rows that neither has seen, fit to be judged."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.kinds import POSITIVE, TargetKind
from engine.domain.prediction import Interval
from engine.domain.schema import Vector


@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """What one model says of the n judged rows, in the target's unit; latency is one row's, NaN
    where it was not measured."""

    values: Vector
    interval: Interval
    calibration_rows: int
    latency_us: float = math.nan


@dataclass(frozen=True, eq=False)
class Evidence:
    """Both models' answers on n rows that neither learned from nor was calibrated on.

    sliced: name to (n,) values whose quintiles are slices, NaN where missing. attempt: how many
    challengers have been judged against this champion, with this one. parity: the compiled
    challenger equals its source. kind: of the target, which says what the loss is.
    """

    champion: ModelAnswers
    challenger: ModelAnswers
    truth: Vector
    sliced: Mapping[str, Vector]
    attempt: int
    same_contract: bool
    parity: bool
    kind: TargetKind = POSITIVE

    @property
    def sides(self) -> tuple[ModelAnswers, ModelAnswers]:
        return self.champion, self.challenger

    @property
    def named(self) -> dict[str, ModelAnswers]:
        return {"champion": self.champion, "challenger": self.challenger}

    @property
    def predicted(self) -> Vector:
        """Both models' mean, geometric where a ratio counts, (n,). Rows are sliced by it: one
        model's own value is tied to its errors, and favours one of the two."""
        old, new = (answers.values for answers in self.sides)
        return self.kind.measure.mean_of(old, new)

    @property
    def slices(self) -> dict[str, Vector]:
        return {"predicted": self.predicted, **self.sliced}


@dataclass(frozen=True)
class Check:
    """One line of the report: what was checked, what was found, what is required."""

    name: str
    passed: bool
    figure: str
    rule: str


def refuse_unusable(evidence: Evidence) -> None:
    """Raises ValueError, naming what, for an invalid number, or a column of another length."""
    n = len(evidence.truth)
    for name, column, is_wrong in _columns(evidence):
        if column.shape != evidence.truth.shape:
            raise ValueError(f"{name} has {len(column)} rows, but the truth has {n}")
        if is_wrong.any():
            raise ValueError(f"{name}: {column[is_wrong][0]} in judged row {is_wrong.argmax() + 1}")
    numbers: dict[str, float] = {"attempt": evidence.attempt}
    for side, answers in evidence.named.items():
        numbers[f"{side} latency"] = answers.latency_us
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: {number}")


def _columns(evidence: Evidence) -> Iterator[tuple[str, Vector, NDArray[np.bool_]]]:
    """Each column by name, and which of its values (n,) are invalid."""
    measure, truth = evidence.kind.measure, evidence.truth
    for name, column in evidence.sliced.items():
        yield name, column, np.isinf(column)
    for side, answers in evidence.named.items():
        yield f"{side} lower", answers.interval.lower, ~np.isfinite(answers.interval.lower)
        yield f"{side} upper", answers.interval.upper, ~np.isfinite(answers.interval.upper)
    yield "truth", truth, ~measure.is_outcome(truth)
    for side, answers in evidence.named.items():
        yield f"{side} values", answers.values, ~measure.is_answer(answers.values)


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"
