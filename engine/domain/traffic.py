"""Who answers whom: variants besides the champion, and the units each of them owns.

The hash of a unit falls into one of SLOTS slots; a variant owns some, the champion all others.
Which ones is part of the value, so every replica assigns alike, and a share that changes takes
slots that others give up, or the champion's: no other unit moves.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.domain.version import Version

SLOTS = 10_000
TEST, CANARY, SHADOW = "test", "canary", "shadow"
MODES = (TEST, CANARY, SHADOW)
_Slots = tuple[tuple[int, int], ...]
"""Ranges, ascending, each without its end."""


@dataclass(frozen=True)
class VariantRequest:
    """A version and how it should be asked; `share` is of all units, 0 for a shadow."""

    version: Version
    mode: str
    share: float = 0.0


@dataclass(frozen=True)
class Variant:
    """A version that is asked besides the champion; a shadow answers nobody and owns no slots."""

    version: Version
    mode: str
    slots: _Slots = ()

    @property
    def share(self) -> float:
        return sum(stop - start for start, stop in self.slots) / SLOTS


@dataclass(frozen=True)
class Traffic:
    """The variants besides the champion; `salt` names the experiment, so that the next one draws
    its units anew."""

    variants: tuple[Variant, ...] = ()
    salt: str = ""

    def version_for(self, unit: bytes) -> Version | None:
        """The variant that owns this unit; None is the champion."""
        starts, versions = self._borders
        return versions[bisect_right(starts, slot_of(self.salt, unit)) - 1]

    @property
    def serves_variants(self) -> bool:
        """Whether anyone but the champion answers."""
        return any(variant.slots for variant in self.variants)

    @property
    def shadows(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if variant.mode == SHADOW)

    def changed(self, requests: Sequence[VariantRequest], salt: str) -> "Traffic":
        """Other variants; while one of them goes on it is the same experiment, else `salt` names a
        new one.

        What shrinks gives up its last slots; what grows takes those first, then the champion's.
        Shares are rounded to whole slots, and must leave the champion some.
        """
        sizes = {request.version: round(request.share * SLOTS) for request in requests}
        old = {variant.version: variant.slots for variant in self.variants}
        kept = {v: _listed(old.get(v, ()))[:size] for v, size in sizes.items()}
        given_up = {slot for slots in old.values() for slot in _listed(slots)}
        taken = {slot for slots in kept.values() for slot in slots}
        free = sorted(set(range(SLOTS)) - taken, key=lambda slot: (slot not in given_up, slot))
        variants = []
        for request in requests:
            mine = kept[request.version]
            lacking = sizes[request.version] - len(mine)
            own, free = sorted(mine + free[:lacking]), free[lacking:]
            variants.append(Variant(request.version, request.mode, _ranges(own)))
        goes_on = any(sizes.get(version) and slots for version, slots in old.items())
        return Traffic(tuple(variants), self.salt if goes_on else salt)

    def as_json(self) -> dict[str, Any]:
        return {
            "salt": self.salt,
            "variants": [
                {"version": str(v.version), "mode": v.mode, "slots": [list(r) for r in v.slots]}
                for v in self.variants
            ],
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Traffic":
        variants = (
            Variant(Version.parse(v["version"]), v["mode"], tuple((a, b) for a, b in v["slots"]))
            for v in facts["variants"]
        )
        return cls(tuple(variants), facts["salt"])

    @cached_property
    def _borders(self) -> tuple[list[int], list[Version | None]]:
        """Where an owner begins, ascending from 0, and who that is."""
        owned = sorted((a, b, v.version) for v in self.variants for a, b in v.slots)
        starts, versions, last = [0], [None], 0  # type: tuple[list[int], list[Version | None], int]
        for start, stop, version in owned:
            if start == last:
                starts.pop()
                versions.pop()
            starts += [start, stop]
            versions += [version, None]
            last = stop
        return starts, versions


ALONE = Traffic()
"""The champion answers everybody."""


def slot_of(salt: str, unit: bytes) -> int:
    """The slot of a unit, uniform over units: 64 bits of BLAKE2b, scaled."""
    digest = hashlib.blake2b(salt.encode() + b"\0" + unit, digest_size=8).digest()
    return int.from_bytes(digest, "big") * SLOTS >> 64


def _listed(slots: _Slots) -> list[int]:
    return [slot for start, stop in slots for slot in range(start, stop)]


def _ranges(slots: Iterable[int]) -> _Slots:
    found: list[list[int]] = []
    for slot in slots:
        if found and found[-1][1] == slot:
            found[-1][1] = slot + 1
        else:
            found.append([slot, slot + 1])
    return tuple((start, stop) for start, stop in found)
