"""What counts as better, and as significant: the same at the gate and on live traffic."""

import math

ALPHA = 0.05
"""The largest probability with which a model that is not better may be called better by chance."""
MINIMUM_EFFECT = 0.005
"""Share by which the mean loss must be lower: a smaller gain is not worth a release."""
SLOWEST = 1.2
"""How many times as long as the champion a version may take."""


def fieller(
    old: float,
    new: float,
    *,
    old_variance: float,
    new_variance: float,
    covariance: float,
    squared_errors: float,
) -> tuple[float, float] | None:
    """Bounds of new / old, two means with their variances, where they differ by so many standard
    errors (squared); None where old may be 0. Source: Fieller, JRSS B 16 (1954)."""
    denominator = old**2 - squared_errors * old_variance
    if denominator <= 0:
        return None
    middle = (old * new - squared_errors * covariance) / denominator
    rest = (new**2 - squared_errors * new_variance) / denominator
    half = math.sqrt(max(middle**2 - rest, 0.0))
    return middle - half, middle + half
