"""How a model of each kind of target is judged: its figures, what it promises, its guardrails."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.domain.events import rarer
from engine.domain.kinds import POSITIVE, REAL, ByKind
from engine.domain.schema import Vector
from engine.judging import guardrails, intervals, probabilities
from engine.judging.evidence import Check, Evidence, ModelAnswers, percent
from engine.judging.intervals import covered
from engine.model.runtime import Predict

_FEWEST_JUDGED_EVENTS = 20
"""Fewest judged rows of the rarer class: its few rows carry most of the loss."""


@dataclass(frozen=True)
class _Promise:
    """Whether what a model says holds on n rows: the p-value of "it does", and what was seen."""

    p_value: float
    seen: str


class _Figures(Protocol):
    def __call__(
        self,
        predict: Predict,
        truth: Vector,
        sliced: Mapping[str, Vector],
        *,
        highest_confidence: float,
    ) -> dict[str, float]: ...


@dataclass(frozen=True)
class _Judge:
    """What differs between kinds, as functions of columns (n,).

    figures: of what a model says of rows, their truth, the values by whose quintiles they are
    sliced, and the highest confidence there is. promise: of a model's answers, the truth, and what
    the rows are called. guardrails: reasons of its own to say no.
    too_few: why rows of this truth cannot judge, if so.
    """

    figures: _Figures
    promise: Callable[[ModelAnswers, Vector, str], _Promise]
    guardrails: Callable[[Evidence], Iterator[Check]]
    too_few: Callable[[Vector], Iterator[Check]]


def _event_figures(
    predict: Predict, truth: Vector, sliced: Mapping[str, Vector], *, highest_confidence: float
) -> dict[str, float]:
    values, interval = predict(intervals.SLICE_LEVEL)
    return probabilities.figures(values, interval, truth, sliced=sliced)


def _promise_of_intervals(answers: ModelAnswers, truth: Vector, rows: str) -> _Promise:
    interval = answers.interval
    hits = covered(interval, truth)
    p_value = guardrails.p_of_coverage(hits, answers.calibration_rows, interval.confidence)
    share = percent(float(hits.mean()))
    return _Promise(p_value, f"{interval.confidence:.0%} intervals cover {share} of the {rows}")


def _promise_of_probabilities(answers: ModelAnswers, truth: Vector, rows: str) -> _Promise:
    values = answers.values
    said, so = percent(float(values.mean())), percent(float(truth.mean()))
    return _Promise(
        guardrails.p_of_probabilities(values, truth, answers.calibration_rows),
        f"probabilities do not hold on the {rows}: {said} said on average, {so} happened",
    )


def _enough(truth: Vector) -> Iterator[Check]:
    """For a quantity any rows can judge."""
    yield from ()


def _too_few_events(truth: Vector) -> Iterator[Check]:
    if rarer(truth) < _FEWEST_JUDGED_EVENTS:
        figure = f"{rarer(truth)} of the rarer class, too few to judge"
        yield Check("rows", False, figure, f"at least {_FEWEST_JUDGED_EVENTS}")


_POSITIVE_JUDGE, _REAL_JUDGE = (
    _Judge(
        figures=partial(intervals.evaluate, kind=kind),
        promise=_promise_of_intervals,
        guardrails=guardrails.of_quantity,
        too_few=_enough,
    )
    for kind in (POSITIVE, REAL)
)
JUDGES = ByKind(
    positive=_POSITIVE_JUDGE,
    real=_REAL_JUDGE,
    binary=_Judge(
        figures=_event_figures,
        promise=_promise_of_probabilities,
        guardrails=guardrails.of_event,
        too_few=_too_few_events,
    ),
)
