"""What the engine needs from the outside, named by role; adapters live in `engine.stores`."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Protocol

from engine.domain.artifact import Artifact
from engine.domain.features import Features
from engine.domain.history import Event
from engine.domain.record import JoinedRecord, Outcome, RecordBlock, RecordQuery
from engine.domain.schema import Row
from engine.domain.traffic import Traffic
from engine.domain.version import Version


class Artifacts(Protocol):
    """Immutable versions of models."""

    def save(self, artifact: Artifact) -> None:
        """Keep an artifact under its card's problem and version; raises VersionExists."""

    def load(self, problem: str, version: Version) -> Artifact:
        """Raises UnknownVersion, or UntrustedArtifact when the file fails a check."""

    def place(self, problem: str, version: Version) -> str:
        """Where a version is kept, for people."""

    def versions(self, problem: str) -> list[Version]:
        """All versions of a problem, in semantic order."""


class Registry(Protocol):
    """The append-only history of each problem's champion."""

    def append(self, problem: str, event: Event) -> None:
        """Raises Outpaced when another event has this number already."""

    def history(self, problem: str) -> list[Event]:
        """All events in order; empty while there is none."""

    def length(self, problem: str) -> int:
        """How many events there are. Cheap."""


class Champion(Protocol):
    """The artifact that answers unless a request names another version."""

    @property
    def place(self) -> str:
        """Where it is kept, for people."""

    def revision(self) -> Hashable | None:
        """Changes whenever the champion does; None while there is no champion. Cheap."""

    def load(self) -> Artifact:
        """Raises UntrustedArtifact when it fails a check."""

    def history(self) -> list[Event]:
        """What happened to it."""

    def adopt(self, who: str) -> None:
        """Register what is served if the history does not know it."""

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
        """Append an event that names a registered version champion, the present one or another;
        whether `place` follows already. Without `traffic` it stays as it is under the same
        champion, and a new champion starts alone.

        `after` is the length of the history the decision was taken on: raises Outpaced when it has
        grown since, UnknownVersion or UntrustedArtifact when the version cannot be champion.
        """


class Records(Protocol):
    """Every answer, and what turned out to be true. Each method raises RecordsUnavailable."""

    def append(self, blocks: Sequence[RecordBlock]) -> None:
        """Keep all of them or none; when this returns they outlive the process and the power. A
        block that is there already stays as it is.

        Raises ValueError for what can never be written: half a surrogate pair, or a row that is no
        JSON."""

    def label(self, problem: str, outcomes: Sequence[Outcome]) -> int:
        """Join outcomes to their predictions, all or none; how many were new.

        Raises UnknownPrediction, or OutcomeConflict when a prediction has another actual already.
        """

    def read(self, question: RecordQuery) -> Iterator[JoinedRecord]:
        """What was asked for, in the order of time, then of block, row and version."""

    def forget(self, before: str, at_most: int) -> int:
        """Remove some of the records older than `before` (UTC, ISO 8601), with their outcomes; how
        many: no more than `at_most`, but at least one block. A table is emptied by asking until it
        is 0: no writer waits for long."""

    def erase(self, problem: str, unit: str) -> int:
        """Remove every record of one unit, with its outcomes, also out of blocks that others have a
        part in; how many."""

    def close(self) -> None:
        """Let go of every connection."""


class FeatureStore(Protocol):
    """The features of each problem's keys, as they were from a time on.

    Each method raises FeaturesUnavailable."""

    def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
        """The newest features of each key that were known at `at` (UTC, ISO 8601): what came later
        is not seen. A key without any is left out. One look-up, however many keys.

        Raises FeaturesUnavailable, too, when nothing of the problem is kept: the store was lost, or
        never filled, and no key is wrong."""

    def history(self, problem: str, keys: Sequence[str]) -> Iterator[Features]:
        """Everything that was ever said of these keys, each key's in the order of time."""

    def put(self, problem: str, features: Sequence[Features]) -> int:
        """Keep all of them or none, old ones beside new ones; how many were not there before. The
        last one said of a key and a time holds.

        Raises ValueError for what no store keeps: a key of no letter or over 400, a row that is no
        JSON."""

    def count(self, problem: str) -> int:
        """How many keys have features."""

    def close(self) -> None:
        """Let go of every connection."""
