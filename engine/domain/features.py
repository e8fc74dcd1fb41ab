"""What is known of a key: a row of features, and from when on it was known."""

from dataclasses import dataclass

from engine.domain.schema import Row


@dataclass(frozen=True, slots=True)
class Features:
    """`at` is UTC in ISO 8601 with milliseconds: nobody may see the row before."""

    key: str
    at: str
    row: Row
