"""What kinds of targets there are, and how a prediction of each is measured.

A room that treats kinds differently has one table, `ByKind`, from kind to what it does: a table
that lacks a kind fails type checking, and no code compares kinds.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]
_Flags = NDArray[np.bool_]
_T = TypeVar("_T")


class TargetKind(StrEnum):
    """A quantity that is judged by its ratio to the truth, one that is judged by its distance, and
    an event that happens (1) or not (0) and is predicted by its probability."""

    POSITIVE = "positive"
    REAL = "real"
    BINARY = "binary"

    @property
    def measure(self) -> "_Measure":
        return _MEASURES[self]


POSITIVE, REAL, BINARY = TargetKind


@dataclass(frozen=True)
class ByKind(Generic[_T]):
    """One entry for each kind of target, under its value."""

    positive: _T
    real: _T
    binary: _T

    def __getitem__(self, kind: TargetKind) -> _T:
        entry: _T = getattr(self, kind.value)
        return entry


class _Measure(ABC):
    """How far a prediction is from the truth, and what either may be; arrays are (n,).

    The gate, the live comparisons and the replay all judge by it, so that they speak of one thing.
    """

    loss_name: str
    distance_name: str
    is_log: bool
    """Whether it is judged on the scale of its logarithm, so that a ratio counts."""
    has_coverage: bool
    """Whether bounds are bounds of the outcome: those of an event are of its probability, which is
    never observed."""

    @abstractmethod
    def loss(self, values: _Values, truth: _Values) -> _Values:
        """The declared loss of each row, (n,); lower is better."""

    @abstractmethod
    def distance(self, values: _Values, others: _Values) -> _Values:
        """How far the predictions of two models are apart, row by row."""

    @abstractmethod
    def is_answer(self, values: _Values) -> _Flags:
        """Whether each value (n,) is a possible prediction of this kind."""

    @abstractmethod
    def is_outcome(self, actual: _Values) -> _Flags:
        """Whether each value (n,) is a possible outcome."""

    @abstractmethod
    def scaled(self, values: _Values) -> _Values:
        """The values on the scale they are judged on."""

    @abstractmethod
    def mean_of(self, old: _Values, new: _Values) -> _Values:
        """The mean of two models' predictions, row by row."""

    @abstractmethod
    def widths(self, lower: _Values, upper: _Values, values: _Values) -> _Values:
        """How wide each interval is: beside its value where a ratio counts."""


class _OfReal(_Measure):
    loss_name, distance_name, is_log, has_coverage = "|error|", "|difference|", False, True

    def loss(self, values: _Values, truth: _Values) -> _Values:
        """|value - truth|, in the target's unit."""
        return self.distance(values, truth)

    def distance(self, values: _Values, others: _Values) -> _Values:
        return np.asarray(np.abs(values - others))

    def is_answer(self, values: _Values) -> _Flags:
        return np.asarray(np.isfinite(values))

    def is_outcome(self, actual: _Values) -> _Flags:
        return self.is_answer(actual)

    def scaled(self, values: _Values) -> _Values:
        return values

    def mean_of(self, old: _Values, new: _Values) -> _Values:
        return np.asarray((old + new) / 2)

    def widths(self, lower: _Values, upper: _Values, values: _Values) -> _Values:
        return np.asarray(upper - lower)


class _OfPositive(_OfReal):
    loss_name, distance_name, is_log, has_coverage = "|log error|", "|log ratio|", True, True

    def distance(self, values: _Values, others: _Values) -> _Values:
        """|log(value) - log(other)|, as the loss."""
        return np.asarray(np.abs(np.log(values) - np.log(others)))

    def is_answer(self, values: _Values) -> _Flags:
        return np.asarray(np.isfinite(values) & (values > 0))

    def scaled(self, values: _Values) -> _Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(values))

    def mean_of(self, old: _Values, new: _Values) -> _Values:
        """Geometric."""
        return np.asarray(np.sqrt(old * new))

    def widths(self, lower: _Values, upper: _Values, values: _Values) -> _Values:
        return np.asarray((upper - lower) / values)


class _OfEvent(_OfReal):
    loss_name, distance_name, is_log, has_coverage = "log loss", "|difference|", False, False

    def loss(self, values: _Values, truth: _Values) -> _Values:
        """-log of the probability that was given to what happened (Good, "Rational decisions",
        JRSS B 14 (1952))."""
        return np.asarray(-np.log(np.where(truth == 1, values, 1 - values)))

    def is_answer(self, values: _Values) -> _Flags:
        return np.asarray((values > 0) & (values < 1))

    def is_outcome(self, actual: _Values) -> _Flags:
        return np.asarray((actual == 0) | (actual == 1))


_MEASURES: ByKind[_Measure] = ByKind(positive=_OfPositive(), real=_OfReal(), binary=_OfEvent())
