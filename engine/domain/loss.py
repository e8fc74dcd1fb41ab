"""How far a prediction is from the truth: one declared loss for each kind of target.

The gate, the live comparisons and the replay all judge by it, so that they speak of one thing.
"""

import numpy as np
from numpy.typing import NDArray

from engine.domain.schema import BINARY, POSITIVE, REAL, Vector

LOSS = {POSITIVE: "|log error|", REAL: "|error|", BINARY: "log loss"}
"""What each kind's loss is called."""


def loss(kind: str, values: Vector, truth: Vector) -> Vector:
    """The loss of each row, (n,), lower is better.

    |log(value) - log(truth)| of a positive quantity, |value - truth| of any other, and of an event
    that is predicted by its probability -log of what was given to what happened (Good, "Rational
    decisions", JRSS B 14 (1952)).
    """
    if kind == BINARY:
        return np.asarray(-np.log(np.where(truth == 1, values, 1 - values)))
    return distance(kind, values, truth)


def distance(kind: str, values: Vector, others: Vector) -> Vector:
    """How far two models are apart, (n,): as the loss, and of probabilities the difference."""
    if kind == POSITIVE:
        return np.asarray(np.abs(np.log(values) - np.log(others)))
    return np.asarray(np.abs(values - others))


def is_answer(kind: str, values: Vector) -> NDArray[np.bool_]:
    """Whether each value is one that a model of this kind may say, (n,)."""
    if kind == BINARY:
        return np.asarray((values > 0) & (values < 1))
    return np.asarray(np.isfinite(values) & ((values > 0) | (kind != POSITIVE)))
