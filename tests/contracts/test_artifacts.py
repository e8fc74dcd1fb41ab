"""Every adapter behind the port `Artifacts` keeps the same promises, and so does every signer."""

from pathlib import Path

import numpy as np
import pytest

from engine.domain.artifact import Artifact
from engine.domain.errors import UnknownVersion, UntrustedArtifact, VersionExists
from engine.domain.ports import Artifacts
from engine.domain.version import Version
from engine.model.runtime import run
from engine.stores.files import ArtifactFile, FileArtifacts, pack
from engine.stores.signer import ArtifactSigner
from tests.conftest import market

ADAPTERS = {"files": FileArtifacts}


def seal_in(folder: Path) -> ArtifactSigner:
    return ArtifactSigner(folder / "signing_key.pem", frozenset(), (folder / "trusted_keys",))


@pytest.fixture
def signer(tmp_path: Path) -> ArtifactSigner:
    return seal_in(tmp_path)


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path, signer: ArtifactSigner) -> Artifacts:
    return ADAPTERS[request.param](tmp_path, signer)


def named(artifact: Artifact, version: str) -> Artifact:
    return artifact.named(Version.parse(version))


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
        store.load("housing", Version.parse("v1.0.0"))


def test_one_altered_byte_anywhere_is_refused_before_unpickling(
    tmp_path: Path,
    signer: ArtifactSigner,
    artifacts: list[Artifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the dump, in the card, in the signer: wherever it is."""
    packed = pack(artifacts[0], signer)
    monkeypatch.setattr("joblib.load", lambda *_: pytest.fail("unpickled what was altered"))
    file = ArtifactFile(tmp_path / "model.joblib", signer)
    card = packed.index(b'{"problem":"housing"')
    places = [0, 1, card + 3, len(packed) // 2, *range(len(packed) - 130, len(packed))]
    places += np.random.default_rng(0).integers(0, len(packed), 30).tolist()
    for place in places:
        altered = bytearray(packed)
        altered[place] ^= 0x10
        file.path.write_bytes(altered)
        with pytest.raises(UntrustedArtifact, match=r"model\.joblib"):
            file.load()


@pytest.mark.parametrize("size", [0, 1, 119, 120, 1_000])
def test_a_file_that_was_cut_short_is_refused(
    signer: ArtifactSigner, artifacts: list[Artifact], size: int
) -> None:
    with pytest.raises(UntrustedArtifact):
        signer.open(pack(artifacts[0], signer)[:size])


def test_a_stranger_signature_is_refused_until_the_key_is_trusted(
    tmp_path: Path, artifacts: list[Artifact]
) -> None:
    stranger, server = seal_in(tmp_path / "stranger"), seal_in(tmp_path / "server")
    packed = pack(artifacts[0], stranger)
    with pytest.raises(UntrustedArtifact, match="not among the trusted keys"):
        server.open(packed)
    (public,) = (tmp_path / "stranger" / "trusted_keys").iterdir()
    informed = ArtifactSigner(
        server.signing_key, frozenset([public.read_text().strip()]), (tmp_path,)
    )
    assert informed.open(packed)[1].startswith(b'{"problem":"housing"')


def test_the_private_key_is_for_its_owner_only_and_made_once(tmp_path: Path) -> None:
    signer = seal_in(tmp_path)
    first = signer.close(b"dump", b"card")
    assert signer.close(b"dump", b"card") == first
    assert signer.signing_key.stat().st_mode & 0o777 == 0o600


def test_a_card_whose_version_is_none_is_refused(
    tmp_path: Path, signer: ArtifactSigner, artifacts: list[Artifact]
) -> None:
    card = artifacts[0].card.model_copy(update={"version": "newest"})
    file = ArtifactFile(tmp_path / "model.joblib", signer)
    file.path.write_bytes(signer.close(b"", card.model_dump_json().encode()))
    with pytest.raises(UntrustedArtifact, match="'newest' is not a version"):
        file.load()


def test_replacing_leaves_nothing_else_behind(
    tmp_path: Path, signer: ArtifactSigner, artifacts: list[Artifact]
) -> None:
    file = ArtifactFile(tmp_path / "models" / "model.joblib", signer)
    stamps = [file.revision()]
    for artifact in (*artifacts, artifacts[0]):
        file.replace(artifact)
        stamps.append(file.revision())
    assert stamps[0] is None
    assert len(set(stamps)) == 4
    assert [path.name for path in file.path.parent.iterdir()] == ["model.joblib"]
