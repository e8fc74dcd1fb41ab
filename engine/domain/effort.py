"""How much a model may cost at each request."""

from enum import StrEnum


class Effort(StrEnum):
    """Few small trees that are asked fast, or about three times as many for slightly better
    answers."""

    FAST = "fast"
    BEST = "best"


FAST, BEST = Effort
