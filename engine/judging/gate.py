"""The gate: is the challenger really better? A pure function of answers on rows neither has seen.

The rule. With the declared loss of the target's kind (`engine.domain.kinds`: |log error| of a
positive quantity, |error| of any other, log loss of an event), a one-sided paired t-test must
reject "the challenger's mean loss is not at least MINIMUM_EFFECT lower than the champion's". The
k-th attempt against one champion is tested at ALPHA * 6 / (pi^2 k^2). These levels sum to ALPHA, so
by the union bound the probability that any attempt promotes a challenger that is not better is at
most ALPHA, for ever and however the rows of the attempts overlap. Guardrails can only say no.

Sources: alpha-spending over an endless sequence of hypotheses, Tian and Ramdas, "Online control of
the familywise error rate", arXiv:1910.04900; bounds of a ratio of means, Fieller, JRSS B 16 (1954).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.domain.judgement import ALPHA, MINIMUM_EFFECT, fieller
from engine.domain.kinds import TargetKind
from engine.domain.schema import Vector
from engine.judging.evidence import Check, Evidence, percent, refuse_unusable
from engine.judging.guardrails import of_any_kind, p_positive
from engine.judging.kinds import JUDGES

FEWEST_JUDGED = 200


@dataclass(frozen=True)
class _Improvement:
    """Share by which the mean loss is lower; each bound is wrong with probability alpha."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """The decision, in one sentence and in full; no test was made where p_value is None."""

    promote: bool
    sentence: str
    checks: tuple[Check, ...]
    alpha: float
    p_value: float | None = None
    improvement: _Improvement | None = None


def judge(evidence: Evidence) -> Verdict:
    """Promote only if the loss is shown to be lower and no guardrail objects.

    Raises ValueError, naming what, when the evidence has an invalid value or a column of another
    length.
    """
    refuse_unusable(evidence)
    alpha = level(evidence.attempt)
    for few in too_few(evidence.kind, evidence.truth):
        return Verdict(False, sentence((few,)), (few,), alpha)
    measure, truth = evidence.kind.measure, evidence.truth
    old, new = (measure.loss(answers.values, truth) for answers in evidence.sides)
    p_value = p_positive((1 - MINIMUM_EFFECT) * old - new)
    found = improvement(old, new, alpha)
    lower = Check(
        "loss",
        p_value <= alpha,
        f"the challenger's mean {measure.loss_name} is {_change(found.estimate)}, "
        f"between {_change(found.low)} and {_change(found.high)} (p = {p_value:.2g})",
        f"at least {percent(MINIMUM_EFFECT)} lower, "
        f"with p at most {alpha:.2g} at attempt {evidence.attempt}",
    )
    own = JUDGES[evidence.kind].guardrails(evidence)
    checks = (lower, *own, *of_any_kind(evidence, harm=new - old))
    return Verdict(all(c.passed for c in checks), sentence(checks), checks, alpha, p_value, found)


def too_few(kind: TargetKind, truth: Vector) -> Iterator[Check]:
    """Why nothing can be tested on rows of this truth, (n,), if so."""
    n = len(truth)
    if n < FEWEST_JUDGED:
        yield Check("rows", False, f"{n}, too few rows to judge", f"at least {FEWEST_JUDGED}")
    yield from JUDGES[kind].too_few(truth)


def level(attempt: int) -> float:
    """The level of the k-th test against one champion; over all k they sum to ALPHA."""
    return ALPHA * 6 / (math.pi * attempt) ** 2


def improvement(old: Vector, new: Vector, alpha: float) -> _Improvement:
    """Of mean losses (n,); the bounds are the shares for which the test has p = alpha (Fieller)."""
    estimate = 1 - new.mean() / old.mean() if old.any() else 0.0
    (v0, c), (_, v1) = np.cov(old, new) / len(old)
    ratio = fieller(
        old.mean(),
        new.mean(),
        old_variance=v0,
        new_variance=v1,
        covariance=c,
        squared_errors=stats.t.isf(alpha, len(old) - 1) ** 2,
    )
    low, high = (-math.inf, 1.0) if ratio is None else (1 - ratio[1], 1 - ratio[0])
    return _Improvement(float(estimate), float(low), float(high))


def sentence(checks: tuple[Check, ...]) -> str:
    failed = [f"{c.name}: {c.figure} (asked for: {c.rule})" for c in checks if not c.passed]
    if failed:
        return f"Keep the champion - {'; '.join(failed)}."
    return f"Promote the challenger: {checks[0].figure}, and every guardrail holds."


def _change(share: float) -> str:
    return f"{percent(abs(share))} {'lower' if share >= 0 else 'higher'}"
