"""Guardrails: reasons to keep the champion that a lower loss does not outweigh.

Of a quantity: the absolute error, coverage and the interval score; of an event: the Brier score and
calibration; of both: slices, latency, contract and parity.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.domain.conformal import tail_ranks
from engine.domain.judgement import SLOWEST
from engine.domain.schema import Vector
from engine.judging.evidence import Check, Evidence, percent
from engine.judging.intervals import SMALLEST_SLICE, covered, slices, winkler

VETO_LEVEL = 0.01
"""A guardrail that is a test objects when its p-value is below this."""
_ERROR_MARGIN = 0.01
_NEVER_SLOW_US = 200
"""A model that answers a row within this time is not refused for being slower than a champion that
takes a few microseconds less, which on a busy machine may be chance."""


def of_any_kind(evidence: Evidence, harm: Vector) -> Iterator[Check]:
    """Reasons to say no whatever the target; `harm` (n,) is how much larger the challenger's loss
    is."""
    yield _worst_slice(evidence, harm)
    old, new = (answers.latency_us for answers in evidence.sides)
    slow = f"{new:.3g} µs a row, the champion's {old:.3g}"
    rule = f"at most {SLOWEST:g} times as long, or {_NEVER_SLOW_US} µs"
    yield Check("latency", bool(new <= max(SLOWEST * old, _NEVER_SLOW_US)), slow, rule)
    contract = "the same" if evidence.same_contract else "changed, which makes a major version"
    yield Check("contract", evidence.same_contract, contract, "the same")
    parity = "holds" if evidence.parity else "the compiled model differs from its source"
    yield Check("parity", evidence.parity, parity, "holds")


def of_quantity(evidence: Evidence) -> Iterator[Check]:
    old, new = (float(np.abs(a.values - evidence.truth).mean()) for a in evidence.sides)
    yield _as_measured("MAE", "mean absolute error", old=old, new=new)
    yield _coverage(evidence)
    yield _interval_score(evidence)


def of_event(evidence: Evidence) -> Iterator[Check]:
    old, new = (float(((a.values - evidence.truth) ** 2).mean()) for a in evidence.sides)
    yield _as_measured("Brier", "Brier score", old=old, new=new)
    yield _calibration(evidence)


def _as_measured(name: str, words: str, *, old: float, new: float) -> Check:
    """A measured comparison, not a test: a few expensive rows dominate this error, and a test would
    have little power."""
    figure = f"{words} {new:,.6g}, the champion's {old:,.6g}"
    holds = new <= (1 + _ERROR_MARGIN) * old
    return Check(name, holds, figure, f"at most {percent(_ERROR_MARGIN)} higher")


def _coverage(evidence: Evidence) -> Check:
    interval = evidence.challenger.interval
    hits = covered(interval, evidence.truth)
    p_value = p_of_coverage(hits, evidence.challenger.calibration_rows, interval.confidence)
    wanted = percent(interval.confidence)
    figure = f"{percent(float(hits.mean()))} of the truths lie in its {wanted} intervals"
    return _unless_shown("coverage", p_value, figure, rule=f"not below {wanted} beyond chance")


def p_of_coverage(hits: NDArray[np.bool_], calibration_rows: int, confidence: float) -> float:
    """One-sided p-value of "intervals at this confidence cover enough", from whether each of n rows
    is covered, (n,).

    Hits are beta-binomial: m calibration rows leave coverage beta distributed (Vovk, ACML 2012,
    "Conditional validity of inductive conformal predictors").
    """
    below, above = tail_ranks(calibration_rows, confidence)
    inside = above - below
    p_value = stats.betabinom.cdf(hits.sum(), len(hits), inside, calibration_rows + 1 - inside)
    return float(p_value)


def _interval_score(evidence: Evidence) -> Check:
    old, new = (winkler(answers.interval, evidence.truth) for answers in evidence.sides)
    figure = f"mean interval score {new.mean():,.6g}, the champion's {old.mean():,.6g}"
    return _unless_shown(
        "intervals", p_positive(new - old), figure, rule="not significantly higher"
    )


def _calibration(evidence: Evidence) -> Check:
    said, happened = evidence.challenger.values, evidence.truth
    p_value = p_of_probabilities(said, happened, evidence.challenger.calibration_rows)
    figure = f"{percent(float(said.mean()))} said on average, {percent(float(happened.mean()))} so"
    rule = "probabilities hold, as far as chance allows"
    return _unless_shown("calibration", p_value, figure, rule=rule)


def p_of_probabilities(said: Vector, happened: Vector, calibration_rows: int) -> float:
    """P-value of "these probabilities hold", from what was said and what happened, (n,) each.

    Two tests, so p-values are doubled (Bonferroni): whether as much happens as is said (Cox,
    Biometrika 45 (1958)), and Spiegelhalter's z (Statistics in Medicine 5 (1986), section 4), the
    Brier score less what it would be on average, which sees too much and too little certainty.
    """
    weights = (np.ones_like(said), 1 - 2 * said)
    found = (
        _p_weighted(said, happened, weight, calibration_rows=calibration_rows) for weight in weights
    )
    return min(1.0, 2 * min(found))


def _p_weighted(said: Vector, happened: Vector, weight: Vector, *, calibration_rows: int) -> float:
    """Two-sided p-value of "what happened, weighted, is what was said", (n,) each.

    Probabilities are rates of m calibration rows, each with an error of its own: n judged rows that
    share it make the variance 1 + n / m times as large.
    """
    variance = float((weight**2 * said * (1 - said)).sum()) * (1 + len(said) / calibration_rows)
    gap = abs(float(((happened - said) * weight).sum()))
    return 2 * float(stats.norm.sf(gap / math.sqrt(variance))) if variance else 1.0


def _worst_slice(evidence: Evidence, harm: Vector) -> Check:
    """P-values times the number of slices (Bonferroni)."""
    parts = {name: harm[rows] for name, rows in slices(evidence.slices).items()}
    if not parts:
        return Check("slices", True, "none is large enough", f"{SMALLEST_SLICE} rows to be judged")
    p_values = {name: min(1.0, len(parts) * p_positive(part)) for name, part in parts.items()}
    worst = min(parts, key=lambda name: p_values[name])
    figure = f"{worst}, mean {evidence.kind.measure.loss_name} {parts[worst].mean():+.2g}"
    rule = f"none of {len(parts)} significantly worse"
    return _unless_shown("slices", p_values[worst], figure, rule=rule)


def _unless_shown(name: str, p_value: float, figure: str, *, rule: str) -> Check:
    holds, asked = bool(p_value >= VETO_LEVEL), f"{rule}, p at least {VETO_LEVEL:g}"
    return Check(name, holds, f"{figure}, p = {p_value:.2g}", asked)


def p_positive(differences: Vector) -> float:
    """Student's one-sided p-value of "the mean is at most zero", (n,); 0 or 1 without spread."""
    n = len(differences)
    error = differences.std(ddof=1) / math.sqrt(n)
    if error == 0:
        return float(differences[0] <= 0)
    return float(stats.t.sf(differences.mean() / error, n - 1))
