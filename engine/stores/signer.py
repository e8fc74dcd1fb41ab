"""Who made an artifact, and is it still what they made? Ed25519 over its bytes, checked first.

The seal closes a file: a signature of everything before it, the public key it can be checked with,
two lengths and a mark. A server holds public keys only; a private key is made where models are
trained.
"""

import base64
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from engine.domain.errors import InvalidSetting, UntrustedArtifact
from engine.stores.atomic import written_beside

FOOT = struct.Struct(">64s32sQQ8s")
_MARK = b"ARTIFACT"


@dataclass(frozen=True)
class ArtifactSigner:
    """`signing_key`: PEM file of a private key, made on first use; `trusted`: public keys in
    base64; `trusted_folders`: more of them, one a `.pub` file, the own one in the first."""

    signing_key: Path
    trusted: frozenset[str]
    trusted_folders: tuple[Path, ...]

    def close(self, dump: bytes, card: bytes) -> bytes:
        """The bytes of a file: dump, card, signer."""
        key = self.private_key()
        sizes = struct.pack(">QQ", len(dump), len(card))
        signature = key.sign(dump + card + sizes)
        public = key.public_key().public_bytes_raw()
        return dump + card + FOOT.pack(signature, public, len(dump), len(card), _MARK)

    def open(self, data: bytes) -> tuple[bytes, bytes]:
        """Dump and card; raises UntrustedArtifact unless a trusted key signed every byte."""
        if len(data) < FOOT.size or not data.endswith(_MARK):
            raise UntrustedArtifact("not a model artifact, or cut short")
        signature, public, dump_size, card_size, _ = FOOT.unpack(data[-FOOT.size :])
        body = data[: -FOOT.size]
        if len(body) != dump_size + card_size:
            raise UntrustedArtifact("the lengths do not add up; the file was altered")
        name = base64.b64encode(public).decode()
        if name not in self.trusted.union(*map(_keys_in, self.trusted_folders)):
            raise UntrustedArtifact(
                f"signed by {name}, which is not among the trusted keys; if you know who made it, "
                f"write that key into a .pub file in {self.trusted_folders[0]}"
            )
        try:
            sizes = struct.pack(">QQ", dump_size, card_size)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, body + sizes)
        except (InvalidSignature, ValueError) as error:
            raise UntrustedArtifact("the signature does not match; the file was altered") from error
        return body[:dump_size], body[dump_size:]

    def publish(self, data: bytes) -> None:
        """Add the key that signed a trusted file to the own trusted keys, wherever that key was
        found."""
        self._publish(base64.b64encode(FOOT.unpack(data[-FOOT.size :])[1]).decode())

    def private_key(self) -> Ed25519PrivateKey:
        if not self.signing_key.exists():
            self._make_key()
        try:
            key = load_pem_private_key(self.signing_key.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidSetting(f"SIGNING_KEY: {self.signing_key} is not an Ed25519 private key")
        self._publish(base64.b64encode(key.public_key().public_bytes_raw()).decode())
        return key

    def _make_key(self) -> None:
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        made = written_beside(self.signing_key, pem, mode=0o600)
        with made as draft, suppress(FileExistsError):  # another process was faster: its key holds
            os.link(draft, self.signing_key)

    def _publish(self, name: str) -> None:
        own = self.trusted_folders[0]
        if name in self.trusted | _keys_in(own):
            return
        own.mkdir(parents=True, exist_ok=True)
        file = f"{base64.urlsafe_b64encode(name.encode())[:16].decode()}.pub"
        (own / file).write_text(name + "\n")


def _keys_in(folder: Path) -> set[str]:
    return {path.read_text(errors="replace").strip() for path in folder.glob("*.pub")}
