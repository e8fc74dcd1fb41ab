"""The gate: is the challenger really better? A pure function of answers on rows neither has seen.

The rule. With loss = |log(value) - log(truth)|, a one-sided paired t-test must reject "the
challenger's mean loss is not at least MINIMUM_EFFECT lower than the champion's". The k-th attempt
against one champion is tested at ALPHA * 6 / (pi^2 k^2). These levels sum to ALPHA, so by the union
bound the probability that any attempt promotes a challenger that is not better is at most ALPHA,
for ever and however the rows of the attempts overlap. Guardrails can only say no.

Sources: alpha-spending over an endless sequence of hypotheses, Tian and Ramdas, "Online control of
the familywise error rate", arXiv:1910.04900; bounds of a ratio of means, Fieller, JRSS B 16 (1954).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.domain.conformal import tail_ranks
from engine.domain.judgement import ALPHA, MINIMUM_EFFECT, SLOWEST
from engine.domain.prediction import Interval
from engine.domain.schema import Vector
from engine.learning.evaluate import SMALLEST_SLICE, covered, slices, winkler

FEWEST_JUDGED = 200
VETO_LEVEL = 0.01
"""A guardrail that is a test objects when chance does so much harm less often than this."""
MAE_MARGIN = 0.01


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says of the n judged rows, in the target's unit; latency is one row's."""

    values: Vector
    interval: Interval
    calibration_rows: int
    latency_us: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """Both models' answers on n rows that neither learned from nor was calibrated on.

    sliced: name to (n,) values whose quintiles are slices. attempt: how many challengers have been
    judged against this champion, with this one. parity: the compiled challenger equals its source.
    """

    champion: Answers
    challenger: Answers
    truth: Vector
    sliced: Mapping[str, Vector]
    attempt: int
    same_contract: bool
    parity: bool


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, what was found, what is asked for."""

    name: str
    passed: bool
    figure: str
    rule: str


@dataclass(frozen=True)
class Improvement:
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
    improvement: Improvement | None = None


def judge(evidence: Evidence) -> Verdict:
    """Promote only if the loss is shown to be lower and no guardrail objects.

    Raises ValueError, naming what, when evidence is not finite, not positive or of another length.
    """
    refuse_unusable(evidence)
    n, alpha = len(evidence.truth), level(evidence.attempt)
    if n < FEWEST_JUDGED:
        few = Check("rows", False, f"{n}, too few rows to judge", f"at least {FEWEST_JUDGED}")
        return Verdict(False, sentence((few,)), (few,), alpha)
    old, new = (loss(answers.values, evidence.truth) for answers in sides(evidence))
    p_value = p_positive((1 - MINIMUM_EFFECT) * old - new)
    found = improvement(old, new, alpha)
    lower = Check(
        "loss",
        p_value <= alpha,
        f"the challenger's mean |log error| is {change(found.estimate)}, "
        f"between {change(found.low)} and {change(found.high)} (p = {p_value:.2g})",
        f"at least {percent(MINIMUM_EFFECT)} lower, "
        f"with p at most {alpha:.2g} at attempt {evidence.attempt}",
    )
    checks = (lower, *guardrails(evidence, harm=new - old))
    return Verdict(all(c.passed for c in checks), sentence(checks), checks, alpha, p_value, found)


def level(attempt: int) -> float:
    """The level of the k-th test against one champion; over all k they sum to ALPHA."""
    return ALPHA * 6 / (math.pi * attempt) ** 2


def loss(values: Vector, truth: Vector) -> Vector:
    """The declared loss of each row: |log(value) - log(truth)|, no unit."""
    return np.asarray(np.abs(np.log(values) - np.log(truth)))


def improvement(old: Vector, new: Vector, alpha: float) -> Improvement:
    """Of mean losses (n,); the bounds are the shares for which the test has p = alpha (Fieller)."""
    estimate = 1 - new.mean() / old.mean() if old.any() else 0.0
    (v0, c), (_, v1) = np.cov(old, new) / len(old)
    t2 = stats.t.isf(alpha, len(old) - 1) ** 2
    denominator = old.mean() ** 2 - t2 * v0
    if denominator <= 0:
        return Improvement(float(estimate), -math.inf, 1.0)
    middle = (old.mean() * new.mean() - t2 * c) / denominator
    half = math.sqrt(max(middle**2 - (new.mean() ** 2 - t2 * v1) / denominator, 0.0))
    return Improvement(float(estimate), float(1 - middle - half), float(1 - middle + half))


def guardrails(evidence: Evidence, harm: Vector) -> Iterator[Check]:
    """Every reason to say no; `harm` (n,) is how much larger the challenger's loss is."""
    yield absolute_error(evidence)
    yield coverage(evidence)
    yield interval_score(evidence)
    yield worst_slice(evidence, harm)
    old, new = (answers.latency_us for answers in sides(evidence))
    slow = f"{new:.3g} µs a row, the champion's {old:.3g}"
    yield Check("latency", bool(new <= SLOWEST * old), slow, f"at most {SLOWEST:g} times as long")
    contract = "the same" if evidence.same_contract else "changed, which makes a major version"
    yield Check("contract", evidence.same_contract, contract, "the same")
    parity = "holds" if evidence.parity else "the compiled model differs from its source"
    yield Check("parity", evidence.parity, parity, "holds")


def absolute_error(evidence: Evidence) -> Check:
    """As measured, not proven: a few dear rows carry this error, a proof would cost much power."""
    old, new = (float(np.abs(a.values - evidence.truth).mean()) for a in sides(evidence))
    figure = f"mean absolute error {new:,.6g}, the champion's {old:,.6g}"
    holds = new <= (1 + MAE_MARGIN) * old
    return Check("MAE", holds, figure, f"at most {percent(MAE_MARGIN)} higher")


def coverage(evidence: Evidence) -> Check:
    """Hits are beta-binomial: m calibration rows leave coverage beta distributed (Vovk, ACML 2012,
    "Conditional validity of inductive conformal predictors")."""
    interval, m = evidence.challenger.interval, evidence.challenger.calibration_rows
    hits = covered(interval, evidence.truth)
    below, above = tail_ranks(m, interval.confidence)
    inside = above - below
    p_value = stats.betabinom.cdf(hits.sum(), len(hits), inside, m + 1 - inside)
    wanted = percent(interval.confidence)
    figure = f"{percent(float(hits.mean()))} of the truths lie in its {wanted} intervals"
    return unless_shown("coverage", p_value, figure, f"not below {wanted} beyond chance")


def interval_score(evidence: Evidence) -> Check:
    old, new = (winkler(answers.interval, evidence.truth) for answers in sides(evidence))
    figure = f"mean interval score {new.mean():,.6g}, the champion's {old.mean():,.6g}"
    return unless_shown("intervals", p_positive(new - old), figure, "not significantly higher")


def worst_slice(evidence: Evidence, harm: Vector) -> Check:
    """P-values times the number of slices (Bonferroni). Slices of the predicted value are of both
    models' mean: one model's own value is tied to its errors, and favours one of the two."""
    predicted = np.sqrt(evidence.champion.values * evidence.challenger.values)
    found = slices({"predicted": predicted, **evidence.sliced})
    parts = {name: harm[rows] for name, rows in found.items()}
    if not parts:
        return Check("slices", True, "none is large enough", f"{SMALLEST_SLICE} rows to be judged")
    p_values = {name: min(1.0, len(parts) * p_positive(part)) for name, part in parts.items()}
    worst = min(parts, key=lambda name: p_values[name])
    figure = f"{worst}, mean |log error| {parts[worst].mean():+.2g}"
    rule = f"none of {len(parts)} significantly worse"
    return unless_shown("slices", p_values[worst], figure, rule)


def unless_shown(name: str, p_value: float, figure: str, rule: str) -> Check:
    holds, asked = bool(p_value >= VETO_LEVEL), f"{rule}, p at least {VETO_LEVEL:g}"
    return Check(name, holds, f"{figure}, p = {p_value:.2g}", asked)


def p_positive(differences: Vector) -> float:
    """Student's one-sided p-value of "the mean is at most zero", (n,); 0 or 1 without spread."""
    n = len(differences)
    error = differences.std(ddof=1) / math.sqrt(n)
    if error == 0:
        return float(differences[0] <= 0)
    return float(stats.t.sf(differences.mean() / error, n - 1))


def sentence(checks: tuple[Check, ...]) -> str:
    failed = [f"{c.name}: {c.figure} (asked for: {c.rule})" for c in checks if not c.passed]
    if failed:
        return f"Keep the champion - {'; '.join(failed)}."
    return f"Promote the challenger: {checks[0].figure}, and every guardrail holds."


def refuse_unusable(evidence: Evidence) -> None:
    positive, finite = {"truth": evidence.truth}, dict(evidence.sliced)
    numbers: dict[str, float] = {"attempt": evidence.attempt}
    for side, a in zip(("champion", "challenger"), sides(evidence), strict=True):
        positive[f"{side} values"] = a.values
        finite |= {f"{side} lower": a.interval.lower, f"{side} upper": a.interval.upper}
        numbers[f"{side} latency"] = a.latency_us
    for name, column in {**finite, **positive}.items():
        if column.shape != evidence.truth.shape:
            raise ValueError(f"{name}: {len(column)} rows, the truth has {len(evidence.truth)}")
        wrong = ~np.isfinite(column) | ((column <= 0) & (name in positive))
        if wrong.any():
            raise ValueError(f"{name}: {column[wrong][0]} in judged row {wrong.argmax() + 1}")
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: {number}")


def sides(evidence: Evidence) -> tuple[Answers, Answers]:
    return evidence.champion, evidence.challenger


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def change(share: float) -> str:
    return f"{percent(abs(share))} {'lower' if share >= 0 else 'higher'}"
