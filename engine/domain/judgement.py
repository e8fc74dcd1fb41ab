"""What counts as better, and as shown: the same at the gate and on live traffic."""

ALPHA = 0.05
"""How often a model that is not better may be called so by chance."""
MINIMUM_EFFECT = 0.005
"""Share by which the mean loss must be lower: what is not worth a release is not promoted."""
SLOWEST = 1.2
"""How many times as long as the champion a version may take."""
