"""Every adapter behind the ports `Artifacts` and `Champion` keeps the same promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.domain.artifact import Artifact
from engine.domain.errors import UnknownVersion, UntrustedArtifact, VersionExists
from engine.domain.ports import Artifacts
from engine.domain.version import Version
from engine.learning.compile import run
from engine.stores.files import ChampionFile, FileArtifacts, pack, unseal
from tests.conftest import market

ADAPTERS = {"files": FileArtifacts}


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return ADAPTERS[request.param](tmp_path)


def named(artifact: Artifact, version: str) -> Artifact:
    return replace(artifact, card=artifact.card.model_copy(update={"version": version}))


def test_what_was_saved_answers_the_same(store: Artifacts, artifacts: list[Artifact]) -> None:
    store.save(artifacts[0])
    loaded = store.load("housing", Version.parse("v1.0.0"))
    rows = market(100, seed=3).rows
    before = artifacts[0].calibration.interval(run(artifacts[0].graph, rows), 0.9)
    after = loaded.calibration.interval(run(loaded.graph, rows), 0.9)
    assert loaded.card == artifacts[0].card
    assert np.array_equal(before.lower, after.lower)
    assert np.array_equal(before.upper, after.upper)


def test_versions_come_in_semantic_order(store: Artifacts, artifacts: list[Artifact]) -> None:
    for version in ("v1.10.0", "v1.9.0", "v1.10.0-rc.2", "v1.10.0-rc.10"):
        store.save(named(artifacts[0], version))
    assert [str(version) for version in store.versions("housing")] == [
        *("v1.9.0", "v1.10.0-rc.2", "v1.10.0-rc.10", "v1.10.0")
    ]


def test_a_version_is_immutable_but_may_be_saved_again(
    store: Artifacts, artifacts: list[Artifact]
) -> None:
    store.save(artifacts[0])
    store.save(artifacts[0])
    with pytest.raises(VersionExists, match=r"v1\.0\.0"):
        store.save(named(artifacts[1], "v1.0.0"))
    assert store.load("housing", Version.parse("v1.0.0")).card == artifacts[0].card


def test_a_version_that_was_never_saved_is_unknown(store: Artifacts) -> None:
    assert store.versions("housing") == []
    with pytest.raises(UnknownVersion):
        store.load("housing", Version.parse("v3.0.0"))


def test_one_altered_byte_anywhere_is_refused_before_unpickling(
    tmp_path: Path, artifacts: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(artifacts[0])
    monkeypatch.setattr("joblib.load", lambda *_: pytest.fail("unpickled what was altered"))
    file = tmp_path / "model.joblib"
    places = [0, 1, len(packed) // 2, len(packed) - 1]
    places += np.random.default_rng(0).integers(0, len(packed), 60).tolist()
    places += range(len(packed) - 60, len(packed))
    for place in places:
        altered = bytearray(packed)
        altered[place] ^= 0x10
        file.write_bytes(altered)
        with pytest.raises(UntrustedArtifact, match=r"model\.joblib"):
            ChampionFile(file).load()


@pytest.mark.parametrize("size", [0, 1, 55, 56, 1_000])
def test_a_file_that_was_cut_short_is_refused(artifacts: list[Artifact], size: int) -> None:
    with pytest.raises(UntrustedArtifact):
        unseal(pack(artifacts[0])[:size])


def test_a_missing_champion_has_no_stamp_and_a_new_one_a_new_stamp(
    tmp_path: Path, artifacts: list[Artifact]
) -> None:
    champion = ChampionFile(tmp_path / "deep" / "model.joblib")
    stamps = [champion.stamp()]
    for artifact in (*artifacts, artifacts[0]):
        champion.replace(artifact)
        stamps.append(champion.stamp())
    assert stamps[0] is None
    assert len(set(stamps)) == 4


def test_replacing_leaves_nothing_else_behind(tmp_path: Path, artifacts: list[Artifact]) -> None:
    champion = ChampionFile(tmp_path / "model.joblib")
    champion.replace(artifacts[0])
    champion.replace(artifacts[1])
    assert [path.name for path in tmp_path.iterdir()] == ["model.joblib"]


def test_a_card_whose_version_is_none_is_refused(tmp_path: Path, artifacts: list[Artifact]) -> None:
    champion = ChampionFile(tmp_path / "model.joblib")
    champion.replace(named(artifacts[0], "newest"))
    with pytest.raises(UntrustedArtifact, match="'newest' is not a version"):
        champion.load()
