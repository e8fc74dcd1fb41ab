"""Artifacts in files: one file a version, checked before it is unpickled, replaced atomically.

A file is a joblib dump (what `joblib.load` reads), then the model card as JSON, then a seal of
fixed size. One file can be replaced by one rename, so no reader ever sees a dump with another
version's card.
"""

import io
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from pydantic import ValidationError

from engine.domain.artifact import Artifact, Golden, ModelCard
from engine.domain.conformal import Calibration, Distribution
from engine.domain.errors import UnknownVersion, UntrustedArtifact, VersionExists
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers
from engine.domain.version import Version
from engine.stores.atomic import written_beside
from engine.stores.signer import FOOT, ArtifactSigner


class ArtifactFile:
    """One artifact at a path."""

    def __init__(self, path: Path, signer: ArtifactSigner) -> None:
        self.path = path
        self._signer = signer

    def revision(self) -> tuple[int, int, int] | None:
        """Changes whenever the file does; None while there is none."""
        try:
            seen = self.path.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_ctime_ns, seen.st_size

    def mark(self) -> bytes:
        """The seal as it stands, unchecked: two files with one mark hold the same model."""
        with self.path.open("rb") as file:
            file.seek(max(self.path.stat().st_size - FOOT.size, 0))
            return file.read()

    def load(self) -> Artifact:
        """Raises UntrustedArtifact before unpickling anything that was altered."""
        try:
            dump, card = self._signer.open(self.path.read_bytes())
            facts = ModelCard.model_validate_json(card)
        except OSError as error:
            raise UntrustedArtifact(f"{self.path} cannot be read: {error.strerror}") from error
        except (UntrustedArtifact, ValidationError) as error:
            raise UntrustedArtifact(f"{self.path}: {error}") from error
        try:
            return _unpack(facts, joblib.load(io.BytesIO(dump)))
        except Exception as error:
            raise UntrustedArtifact(
                f"{self.path}: the file is intact, but cannot be loaded here: {error}"
            ) from error

    def publish_key(self) -> None:
        """Add the key that signed this file, which was checked, to the trusted keys."""
        self._signer.publish(self.path.read_bytes())

    def replace(self, artifact: Artifact) -> None:
        """Whoever reads meanwhile gets the old one or the new one."""
        with written_beside(self.path, pack(artifact, self._signer)) as draft:
            draft.replace(self.path)

    def copy(self, other: "ArtifactFile") -> None:
        """Become byte for byte what another file is."""
        with written_beside(self.path, other.path.read_bytes()) as draft:
            draft.replace(self.path)


class FileArtifacts:
    """Versions under `root/<problem>/<version>.joblib`."""

    def __init__(self, root: Path, signer: ArtifactSigner) -> None:
        self.root = root
        self._signer = signer

    def save(self, artifact: Artifact) -> None:
        path = self.file(artifact.card.problem, Version.parse(artifact.card.version)).path
        packed = pack(artifact, self._signer)
        with written_beside(path, packed) as draft:
            try:
                os.link(draft, path)
            except FileExistsError:
                if path.read_bytes() != packed:
                    version = artifact.card.version
                    raise VersionExists(
                        f"{version} is already registered and is another model"
                    ) from None

    def load(self, problem: str, version: Version) -> Artifact:
        file = self.file(problem, version)
        if file.revision() is None:
            raise UnknownVersion(f"{problem} has no version {version}")
        artifact = file.load()
        if artifact.card.version != str(version):
            raise UntrustedArtifact(
                f"{file.path} contains {artifact.card.version}; the file was renamed"
            )
        return artifact

    def versions(self, problem: str) -> list[Version]:
        names = (path.stem for path in self.root.glob(f"{problem}/v*.joblib"))
        return sorted(Version.parse(name) for name in names if Version.is_one(name))

    def place(self, problem: str, version: Version) -> str:
        return str(self.file(problem, version).path)

    def file(self, problem: str, version: Version) -> ArtifactFile:
        return ArtifactFile(self.root / problem / f"{version}.joblib", self._signer)


def pack(artifact: Artifact, signer: ArtifactSigner) -> bytes:
    """The bytes of an artifact's file; with one key, equal artifacts give equal bytes."""
    parts = {
        "graph": zlib.compress(artifact.graph),
        "estimator": zlib.compress(artifact.estimator),
        "calibration": asdict(artifact.calibration),
        "golden": vars(artifact.golden),
        "seen": artifact.seen,
    }
    dump = io.BytesIO()
    joblib.dump(parts, dump)
    return signer.close(dump.getvalue(), artifact.card.model_dump_json().encode())


def _unpack(card: ModelCard, parts: dict[str, Any]) -> Artifact:
    return Artifact(
        card=card,
        graph=zlib.decompress(parts["graph"]),
        estimator=zlib.decompress(parts["estimator"]),
        calibration=_calibration(parts["calibration"]),
        golden=_golden(**parts["golden"]),
        seen=parts["seen"],
    )


def _golden(rows: Matrix, values: Vector, lower: Vector, *, upper: Vector) -> Golden:
    """Bounds are widened to hold the value, because the bounds of older models did not always hold
    it."""
    return Golden(rows, values, np.minimum(lower, values), np.maximum(upper, values))


def _calibration(parts: dict[str, Any]) -> Calibration | VennAbers:
    if "distribution" not in parts:
        return VennAbers(**parts)
    return Calibration(**{**parts, "distribution": Distribution(**parts["distribution"])})
