"""Simulated events for the gate: two models that are exactly right about what they know.

Something normal, s, and noise decide whether an event happens; each model sees s through noise of
its own, and says the probability that follows from that. So the mean log loss of either is an
integral, and by how much one is better can be set exactly.
"""

from functools import cache

import numpy as np
from scipy import integrate, optimize, stats

from engine.domain.kinds import BINARY
from engine.domain.prediction import Interval
from engine.domain.schema import Vector
from engine.judging.evidence import Evidence, ModelAnswers

KNOWN = 1.5
"""The standard deviation of s; that of the noise is 1."""
CHAMPION_BLUR = 1.0
EXACT = 10**9
"""Calibration rows of a model that is right."""


def probability(seen: Vector, blur: float, rate: float) -> Vector:
    """Of the event, given s blurred, (n,)."""
    share = KNOWN**2 / (KNOWN**2 + blur**2)
    return np.asarray(stats.norm.cdf((share * seen - border(rate)) / np.sqrt(share * blur**2 + 1)))


def border(rate: float) -> float:
    """Beyond which the event happens."""
    return float(stats.norm.isf(rate) * np.hypot(KNOWN, 1))


@cache
def mean_loss(blur: float, rate: float) -> float:
    """The entropy of what is said, on average."""
    spread = float(np.hypot(KNOWN, blur))

    def weighed(seen: float) -> float:
        said = probability(np.array(seen), blur, rate)
        return float(stats.bernoulli.entropy(said) * stats.norm.pdf(seen, scale=spread))

    return float(integrate.quad(weighed, -6 * spread, 6 * spread, limit=200)[0])


@cache
def blur_for(ratio: float, rate: float) -> float:
    """How blurred a challenger sees whose mean loss is `ratio` times the champion's."""
    wanted = ratio * mean_loss(CHAMPION_BLUR, rate)
    return float(optimize.brentq(lambda blur: mean_loss(blur, rate) - wanted, 0.05, 4.0))


def drawn(
    rng: np.random.Generator, n: int, ratio: float, rate: float, nights: int = 1
) -> tuple[Vector, Vector, list[Vector]]:
    """Truths, and what the champion and a challenger a night say of them, (n,) each."""
    s = KNOWN * rng.normal(size=n)
    truth = (s + rng.normal(size=n) > border(rate)).astype(float)
    blur = blur_for(ratio, rate)
    old = probability(s + CHAMPION_BLUR * rng.normal(size=n), CHAMPION_BLUR, rate)
    new = [probability(s + blur * rng.normal(size=n), blur, rate) for _ in range(nights)]
    return truth, old, new


def evidence(truth: Vector, old: Vector, new: Vector, attempt: int = 1) -> Evidence:
    champion, challenger = (
        ModelAnswers(said, Interval(0.9 * said, said, 0.9), EXACT, 20.0) for said in (old, new)
    )
    size = np.arange(len(truth)) % 97 / 97.0
    return Evidence(champion, challenger, truth, {"size": size}, attempt, True, True, BINARY)
