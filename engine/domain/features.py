"""What is known of a key: a row of features, and from when on it was known."""

from dataclasses import dataclass

from engine.domain.schema import Row

LONGEST_KEY = 400
"""In letters: PostgreSQL finds no key of more than 2,700 bytes."""


@dataclass(frozen=True, slots=True)
class Features:
    """`at` is UTC in ISO 8601 with milliseconds: nobody may see the row before."""

    key: str
    at: str
    row: Row
