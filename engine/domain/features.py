"""What is known of a key: a row of features, and from when on it was known."""

from dataclasses import dataclass

from engine.domain.schema import Row

LONGEST_KEY = 400
"""In characters: PostgreSQL cannot index a key of more than 2,700 bytes."""


@dataclass(frozen=True, slots=True)
class Features:
    """`at` is UTC in ISO 8601 with milliseconds: the row must not be used for earlier times."""

    key: str
    at: str
    row: Row
