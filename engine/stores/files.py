"""Artifacts in files: one file a version, checked before it is unpickled, replaced atomically.

A file is a joblib dump (what `joblib.load` reads), then the model card as JSON, then a fixed-size
seal: the SHA-256 of dump and card, the two lengths and a mark. One file can be replaced by one
rename, so no reader ever sees a dump with another version's card.
"""

import hashlib
import io
import os
import struct
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
from pydantic import ValidationError

from engine.domain.artifact import Artifact, Golden, ModelCard
from engine.domain.conformal import Calibration, Distribution
from engine.domain.errors import UnknownVersion, UntrustedArtifact, VersionExists
from engine.domain.version import Version

SEAL = struct.Struct(">32sQQ8s")
MARK = b"ARTIFACT"


class FileArtifacts:
    """Versions under `root/<problem>/<version>.joblib`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, artifact: Artifact) -> None:
        path = self._path(artifact.card.problem, Version.parse(artifact.card.version))
        packed = pack(artifact)
        if path.exists() and path.read_bytes() != packed:
            raise VersionExists(f"{artifact.card.version} is registered and holds another model")
        replace(path, packed)

    def load(self, problem: str, version: Version) -> Artifact:
        path = self._path(problem, version)
        if not path.exists():
            raise UnknownVersion(f"{problem} has no version {version}")
        return read(path)

    def versions(self, problem: str) -> list[Version]:
        names = (path.stem for path in self.root.glob(f"{problem}/v*.joblib"))
        return sorted(Version.parse(name) for name in names if Version.is_one(name))

    def _path(self, problem: str, version: Version) -> Path:
        return self.root / problem / f"{version}.joblib"


class ChampionFile:
    """One file, `housing_model.joblib` by default, that holds the champion."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def stamp(self) -> tuple[int, int, int] | None:
        try:
            seen = self.path.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size

    def load(self) -> Artifact:
        return read(self.path)

    def replace(self, artifact: Artifact) -> None:
        replace(self.path, pack(artifact))


def read(path: Path) -> Artifact:
    """Read an artifact; raises UntrustedArtifact before unpickling anything that was altered."""
    try:
        dump, card = unseal(path.read_bytes())
        facts = ModelCard.model_validate_json(card)
    except OSError as error:
        raise UntrustedArtifact(f"{path} cannot be read: {error.strerror}") from error
    except (UntrustedArtifact, ValidationError) as error:
        raise UntrustedArtifact(f"{path}: {error}") from error
    try:
        return _unpack(facts, joblib.load(io.BytesIO(dump)))
    except Exception as error:
        raise UntrustedArtifact(f"{path}: intact, but cannot be loaded here: {error}") from error


def pack(artifact: Artifact) -> bytes:
    """The bytes of an artifact's file; equal artifacts give equal bytes."""
    parts = {
        "graph": zlib.compress(artifact.graph),
        "estimator": zlib.compress(artifact.estimator),
        "distribution": asdict(artifact.calibration.distribution),
        "held_out": artifact.calibration.held_out,
        "golden": vars(artifact.golden),
    }
    buffer = io.BytesIO()
    joblib.dump(parts, buffer)
    dump = buffer.getvalue()
    card = artifact.card.model_dump_json().encode()
    digest = hashlib.sha256(dump + card).digest()
    return dump + card + SEAL.pack(digest, len(dump), len(card), MARK)


def unseal(data: bytes) -> tuple[bytes, bytes]:
    """Dump and card of an artifact's file; raises UntrustedArtifact when the seal is broken."""
    if len(data) < SEAL.size or not data.endswith(MARK):
        raise UntrustedArtifact("not a model artifact, or cut short")
    digest, dump_size, card_size, _ = SEAL.unpack(data[-SEAL.size :])
    body = data[: -SEAL.size]
    if len(body) != dump_size + card_size or hashlib.sha256(body).digest() != digest:
        raise UntrustedArtifact("the content does not match its digest; the file was altered")
    return body[:dump_size], body[dump_size:]


def replace(path: Path, data: bytes) -> None:
    """Write beside, flush to disk, rename over: never half a file, not even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unpack(card: ModelCard, parts: dict[str, Any]) -> Artifact:
    return Artifact(
        card=card,
        graph=zlib.decompress(parts["graph"]),
        estimator=zlib.decompress(parts["estimator"]),
        calibration=Calibration(Distribution(**parts["distribution"]), parts["held_out"]),
        golden=Golden(**parts["golden"]),
    )
