"""What the engine needs from the outside, named by role; adapters live in `engine.stores`."""

from collections.abc import Hashable
from typing import Protocol

from engine.domain.artifact import Artifact
from engine.domain.version import Version


class Artifacts(Protocol):
    """Immutable versions of models."""

    def save(self, artifact: Artifact) -> None:
        """Keep an artifact under its card's problem and version; raises VersionExists."""

    def load(self, problem: str, version: Version) -> Artifact:
        """Raises UnknownVersion, or UntrustedArtifact when the file fails a check."""

    def versions(self, problem: str) -> list[Version]:
        """All versions of a problem, in semantic order."""


class Champion(Protocol):
    """The artifact that answers unless a request names another version."""

    place: str
    """Where it is kept, for people."""

    def stamp(self) -> Hashable | None:
        """Changes whenever the champion does; None while there is no champion. Cheap."""

    def load(self) -> Artifact:
        """Raises UntrustedArtifact when it fails a check."""

    def replace(self, artifact: Artifact) -> None:
        """Put another in its place; whoever reads meanwhile gets the old one or the new one."""
