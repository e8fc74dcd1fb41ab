"""Which adapter stands behind which port."""

from dataclasses import dataclass
from pathlib import Path

from engine.domain.ports import Artifacts, Champion
from engine.settings import Settings
from engine.stores.files import ChampionFile, FileArtifacts


@dataclass(frozen=True)
class Stores:
    """Every store of a running process, already opened."""

    artifacts: Artifacts
    champion: Champion


def open_stores(settings: Settings) -> Stores:
    return Stores(
        artifacts=FileArtifacts(settings.data_dir / "models"),
        champion=open_champion(settings.model_path),
    )


def open_champion(path: Path) -> Champion:
    return ChampionFile(path)
