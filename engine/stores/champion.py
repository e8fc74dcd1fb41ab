"""The champion: the history says which version it is, one file is what is served.

An event in the history is the moment a change happens; the file follows, and whoever looks next
finishes what a crash left undone. A file that the history does not know is somebody's own: it is
served as it is, and adopted into the history before anything is trained to replace it.
"""

from dataclasses import replace
from datetime import UTC, datetime

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.errors import RegistryUnavailable
from engine.domain.history import Event
from engine.domain.ports import Registry
from engine.domain.times import written
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version
from engine.stores.files import ArtifactFile, FileArtifacts

Stamp = tuple[tuple[int, int, int] | None, int]


class TrackedChampion:
    """A problem's champion, its history and its file."""

    def __init__(
        self, problem: str, *, registry: Registry, artifacts: FileArtifacts, file: ArtifactFile
    ) -> None:
        self.problem = problem
        self.place = str(file.path)
        self._registry = registry
        self._artifacts = artifacts
        self._file = file

    def stamp(self) -> Stamp | None:
        stamp = self._file.stamp(), self._registry.length(self.problem)
        return None if stamp == (None, 0) else stamp

    def history(self) -> list[Event]:
        return self._registry.history(self.problem)

    def load(self) -> Artifact:
        try:
            version = history.champion(self.history())
        except RegistryUnavailable:  # what is in the file was champion, and may still be
            return self._file.load()
        try:
            if version is None or not self._is_behind(version):
                return self._file.load()
            self._settle(version)
        except OSError:  # a place this process may not read or write
            if version is None:
                raise
            return self._artifacts.load(self.problem, version)
        return self._file.load()

    def adopt(self, who: str) -> None:
        """Register what is served if the history does not know it, under its own number or, where
        that is another model's, the next free one."""
        past = self.history()
        known = None if self._file.stamp() is None else self._known_as()
        if self._file.stamp() is None or (known is not None and past):
            return
        artifact = self._file.load()
        taken = self._artifacts.versions(self.problem)
        version = Version.parse(artifact.card.version)
        if known is None and version in {*taken, *history.champions(past)}:
            version = history.next_minor(past, taken)
            self._artifacts.save(artifact.named(version))
        elif known is None:  # byte for byte, with the seal of whoever made it
            self._artifacts.file(self.problem, version).copy(self._file)
        why = f"found at {self.place}"
        event = made("adopted", version, None, who=who, why=why, after=len(past))
        self._registry.append(self.problem, event)
        self._settle(version)

    def move(
        self,
        action: str,
        version: Version,
        *,
        who: str,
        why: str,
        after: int,
        challenger: Version | None = None,
        traffic: Traffic | None = None,
    ) -> bool:
        """One more event; `after` is how long the history was when this was decided."""
        self._artifacts.load(self.problem, version)
        if traffic is None:
            past = self.history()
            traffic = history.traffic(past) if history.champion(past) == version else ALONE
        event = made(action, version, challenger, who=who, why=why, after=after)
        self._registry.append(self.problem, replace(event, traffic=traffic))
        try:
            self._settle(version)
        except OSError:  # the change has happened; whoever loads it next can do without the file
            return False
        return True

    def _settle(self, version: Version) -> None:
        self._file.copy(self._artifacts.file(self.problem, version))

    def _is_behind(self, version: Version) -> bool:
        """Whether the file is missing or is another version that is registered."""
        return self._file.stamp() is None or self._known_as() not in {None, version}

    def _known_as(self) -> Version | None:
        mark = self._file.mark()
        for version in reversed(self._artifacts.versions(self.problem)):
            if self._artifacts.file(self.problem, version).mark() == mark:
                return version
        return None


def made(
    action: str, version: Version, challenger: Version | None, *, who: str, why: str, after: int
) -> Event:
    """The event that happens now, and is the next one."""
    at = written(datetime.now(UTC))
    return Event(after + 1, at, action, version, challenger, who, why)
