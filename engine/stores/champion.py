"""The champion: the history says which version it is, one file is what is served.

An event in the history is the moment a change happens; the file follows, and whoever looks next
finishes what a crash left undone. A file that the history does not know is a user's own model: it
is served as it is, and adopted into the history before anything is trained to replace it. While
there is neither a history nor a file, a model that came with the program may answer.
"""

from dataclasses import replace
from datetime import UTC, datetime

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.errors import RegistryUnavailable, UntrustedArtifact
from engine.domain.history import Action, Event
from engine.domain.ports import Registry
from engine.domain.times import written
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version
from engine.stores.files import ArtifactFile, FileArtifacts

_Revision = tuple[tuple[int, int, int] | None, int]


class TrackedChampion:
    """A problem's champion, its history and its file."""

    def __init__(
        self,
        problem: str,
        *,
        registry: Registry,
        artifacts: FileArtifacts,
        file: ArtifactFile,
        bundled: ArtifactFile | None = None,
        way_out: str = "",
    ) -> None:
        """`way_out` is what to do about a model that is refused, for people."""
        self.problem = problem
        self._registry = registry
        self._artifacts = artifacts
        self._own = file
        self._bundled = bundled
        self._way_out = way_out

    @property
    def place(self) -> str:
        return str(self._found.path)

    def revision(self) -> _Revision | None:
        revision = self._found.revision(), self._registry.length(self.problem)
        return None if revision == (None, 0) else revision

    def history(self) -> list[Event]:
        return self._registry.history(self.problem)

    def load(self) -> Artifact:
        try:
            return self._load()
        except UntrustedArtifact as error:
            raise UntrustedArtifact(f"{error}; {self._way_out}") from error

    def _load(self) -> Artifact:
        try:
            version = history.champion(self.history())
        except RegistryUnavailable:  # what is in the file was champion, and may still be
            return self._own.load()
        if version is None:
            return self._found.load()
        try:
            if self._is_behind(version):
                self._settle(version)
        except OSError:  # a place this process may not read or write
            return self._artifacts.load(self.problem, version)
        try:
            return self._own.load()
        except UntrustedArtifact as error:
            way_out = f"remove it; then {version}, which is registered, takes its place"
            raise UntrustedArtifact(f"{error}; {way_out}") from error

    def adopt(self, who: str) -> None:
        """Register what is served if the history does not know it, under its own number or, where
        that is another model's, the next free one."""
        past = self.history()
        found = self._own if past else self._found
        known = None if found.revision() is None else self._known_as(found)
        if found.revision() is None or (known is not None and past):
            return
        artifact = found.load()
        taken = self._artifacts.versions(self.problem)
        version = Version.parse(artifact.card.version)
        if known is None and version in {*taken, *history.champions(past)}:
            version = history.next_minor(past, taken)
            self._artifacts.save(artifact.named(version))
        elif known is None:  # byte for byte, with the seal of whoever made it
            self._artifacts.file(self.problem, version).copy(found)
            found.publish_key()
        why = f"found at {found.path}"
        event = _made(Action.ADOPTED, version, None, who=who, why=why, after=len(past))
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
        event = _made(action, version, challenger, who=who, why=why, after=after)
        self._registry.append(self.problem, replace(event, traffic=traffic))
        try:
            self._settle(version)
        except OSError:  # the change has happened; whoever loads it next can do without the file
            return False
        return True

    @property
    def _found(self) -> ArtifactFile:
        """The own file, or the bundled one where that alone is there."""
        if self._own.revision() is None and self._bundled is not None and self._bundled.revision():
            return self._bundled
        return self._own

    def _settle(self, version: Version) -> None:
        self._own.copy(self._artifacts.file(self.problem, version))

    def _is_behind(self, version: Version) -> bool:
        """Whether the own file is missing or is another version that is registered."""
        return self._own.revision() is None or self._known_as(self._own) not in {None, version}

    def _known_as(self, found: ArtifactFile) -> Version | None:
        mark = found.mark()
        for version in reversed(self._artifacts.versions(self.problem)):
            if self._artifacts.file(self.problem, version).mark() == mark:
                return version
        return None


def _made(
    action: str, version: Version, challenger: Version | None, *, who: str, why: str, after: int
) -> Event:
    """The next event of the history, at the present time."""
    at = written(datetime.now(UTC))
    return Event(after + 1, at, action, version, challenger, who, why)
