"""Which adapter stands behind which port, chosen by the settings."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.domain.artifact import Artifact, ModelCard
from engine.domain.ports import Artifacts, Champion, FeatureStore, Records, Registry
from engine.settings import Settings
from engine.stores.champion import TrackedChampion
from engine.stores.features import MemoryFeatures, SqlFeatures
from engine.stores.files import ArtifactFile, FileArtifacts
from engine.stores.lock import exclusive
from engine.stores.memory_records import MemoryRecords
from engine.stores.records import SqlRecords
from engine.stores.registry import MemoryRegistry, SqlRegistry
from engine.stores.signer import ArtifactSigner


@dataclass(frozen=True)
class Stores:
    """The stores of one problem."""

    artifacts: Artifacts
    champion: Champion
    signer: ArtifactSigner
    lock_file: Path
    train_command: str
    """What a person types to train a model of the problem."""

    def training(self) -> AbstractContextManager[None]:
        """Held while versions are made.

        Raises Outpaced when another process makes some, InvalidSetting when they cannot be signed.
        """
        self.signer.private_key()
        return exclusive(self.lock_file)


def open_stores(settings: Settings, problem: str) -> Stores:
    """Nothing is touched before it is needed: a server can start with an empty folder."""
    signer = open_signer(settings)
    artifacts = FileArtifacts(settings.data_dir / "models", signer)
    adapters = _opened(settings.registry_url, settings.data_dir / "registry.db")
    train_command = settings.script("train_model.py", "--problem", problem)
    champion = TrackedChampion(
        problem,
        registry=adapters.registry(),
        artifacts=artifacts,
        file=ArtifactFile(settings.model_of(problem), signer),
        bundled=_bundled_model(settings, problem, signer),
        way_out=f"{train_command} trains another one",
    )
    lock_file = settings.data_dir / f"{problem}.lock"
    return Stores(artifacts, champion, signer, lock_file, train_command)


def _bundled_model(settings: Settings, problem: str, signer: ArtifactSigner) -> ArtifactFile | None:
    path = settings.bundled_model_of(problem)
    return None if path is None else ArtifactFile(path, signer)


def card_of(settings: Settings, problem: str) -> ModelCard:
    """The champion's card; raises UntrustedArtifact when there is no champion, or a bad one."""
    return open_stores(settings, problem).champion.load().card


def has_model(settings: Settings, problem: str) -> bool:
    """Whether there is a model of the problem, whatever may be wrong with it."""
    files = settings.model_of(problem), settings.bundled_model_of(problem)
    is_there = any(file is not None and file.exists() for file in files)
    return is_there or open_stores(settings, problem).champion.revision() is not None


def open_records(settings: Settings) -> Records:
    """The records of every problem; nothing is touched before it is needed.

    Raises InvalidSetting for a URL that cannot work.
    """
    return _opened(settings.records_url, settings.data_dir / "records.db").records()


def open_features(settings: Settings) -> FeatureStore:
    """The features of every problem's keys; nothing is touched before it is needed.

    Raises InvalidSetting for a URL that cannot work.
    """
    return _opened(settings.features_url, settings.data_dir / "features.db").features()


@dataclass(frozen=True)
class _Adapters:
    """What stands behind each port at a URL."""

    registry: Callable[[], Registry]
    records: Callable[[], Records]
    features: Callable[[], FeatureStore]


def _opened(url: str | None, file: Path) -> _Adapters:
    """The adapters at a URL, by its scheme; by default SQLite in a file."""
    url = url or f"sqlite:///{file}"
    return _SCHEMES.get(url.partition(":")[0], _sql)(url)


def _memory(url: str) -> _Adapters:
    """For a try: it is empty at the start, and forgotten at the end."""
    return _Adapters(MemoryRegistry, MemoryRecords, MemoryFeatures)


def _sql(url: str) -> _Adapters:
    return _Adapters(partial(SqlRegistry, url), partial(SqlRecords, url), partial(SqlFeatures, url))


def _redis(url: str) -> _Adapters:
    """Redis keeps features; SQLAlchemy says that it knows no such database for the others."""

    def features() -> FeatureStore:
        from engine.stores.redis_features import RedisFeatures  # 40 ms that few have a use for

        return RedisFeatures(url)

    return replace(_sql(url), features=features)


_SCHEMES: Mapping[str, Callable[[str], _Adapters]] = {
    "memory": _memory,
    "redis": _redis,
    "rediss": _redis,
}
"""Every other scheme is a database of SQLAlchemy's."""


def open_signer(settings: Settings) -> ArtifactSigner:
    return ArtifactSigner(
        signing_key=settings.signing_key or settings.data_dir / "signing_key.pem",
        trusted=frozenset(settings.trusted_keys),
        trusted_folders=settings.key_folders,
    )


def export(settings: Settings, artifact: Artifact, path: Path) -> None:
    """Write a signed artifact to a file of its own, registering nothing."""
    ArtifactFile(path, open_signer(settings)).replace(artifact)
