"""Semantic versions of models, printed `v1.2.3`."""

from functools import total_ordering

import semver

from engine.domain.errors import UnknownVersion


@total_ordering
class Version:
    """Major: the contract changed. Minor: retrained. Patch: recalibrated. `-rc.N`: a candidate."""

    def __init__(self, number: semver.Version) -> None:
        self._number = number
        self._hash = hash(number)

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `v1.2.3` or `1.2.3-rc.1`; raises UnknownVersion for any other text."""
        try:
            return cls(semver.Version.parse(text.removeprefix("v")))
        except (ValueError, TypeError) as error:
            raise UnknownVersion(f"{text[:50]!r} is not a version such as v1.2.3") from error

    @staticmethod
    def is_one(text: str) -> bool:
        return semver.Version.is_valid(text.removeprefix("v"))

    @property
    def is_candidate(self) -> bool:
        return self._number.prerelease is not None

    def next_minor(self) -> "Version":
        return Version(self._number.bump_minor())

    def next_patch(self) -> "Version":
        return Version(self._number.bump_patch())

    def next_major(self) -> "Version":
        return Version(self._number.bump_major())

    @property
    def line(self) -> tuple[int, int]:
        """Major and minor: all recalibrations of one training share them."""
        return self._number.major, self._number.minor

    def candidate(self, number: int) -> "Version":
        """The `number`-th release candidate of this version."""
        return Version(self._number.replace(prerelease=f"rc.{number}"))

    def __str__(self) -> str:
        return f"v{self._number}"

    def __repr__(self) -> str:
        return f"Version({self})"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._number == other._number

    def __lt__(self, other: "Version") -> bool:
        return self._number < other._number


FIRST = Version.parse("v1.0.0")
