"""Reads tables of a flatbuffer that may be damaged: nothing outside of it is ever read.

Source: FlatBuffers internals, "Encoding". Every error is a ValueError or a struct.error.
"""

import struct
from typing import Any

_MOST_ITEMS = 100_000


class FlatTable:
    """One table; its fields are named by their slots, as the schema of the format counts them."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        self._vtable = place - self._unpack("<i", place)
        self._size = self._unpack("<H", self._vtable)

    @classmethod
    def root(cls, data: bytes) -> "FlatTable":
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, slot: int, code: str) -> int:
        """0 where it is not written, which is the default of every number that is read here."""
        place = self._find(slot)
        return self._unpack(code, place) if place else 0

    def has(self, slot: int) -> bool:
        return self._find(slot) > 0

    def table(self, slot: int) -> "FlatTable":
        place = self._find(slot)
        if not place:
            raise ValueError("a table lacks a part")
        return FlatTable(self._data, self._follow(place))

    def text(self, slot: int) -> str:
        """Empty where it is not written."""
        place = self._find(slot)
        if not place:
            return ""
        start = self._follow(place)
        size = self._unpack("<I", start)
        if start + 4 + size > len(self._data):
            raise ValueError("a text is longer than its buffer")
        return self._data[start + 4 : start + 4 + size].decode()

    def tables(self, slot: int) -> list["FlatTable"]:
        start, size = self._vector(slot)
        places = (start + 4 * number for number in range(size))
        return [FlatTable(self._data, self._follow(place)) for place in places]

    def pairs(self, slot: int) -> list[tuple[int, int]]:
        """Structs of two int64."""
        start, size = self._vector(slot)
        if start + 16 * size > len(self._data):
            raise ValueError("a list is longer than its buffer")
        numbers = struct.unpack_from(f"<{2 * size}q", self._data, start) if size else ()
        return [*zip(numbers[::2], numbers[1::2], strict=True)]

    def _vector(self, slot: int) -> tuple[int, int]:
        place = self._find(slot)
        if not place:
            return 0, 0
        start = self._follow(place)
        size = self._unpack("<I", start)
        if size > _MOST_ITEMS:
            raise ValueError("a list is too long")
        return start + 4, size

    def _find(self, slot: int) -> int:
        place = 4 + 2 * slot
        if place + 2 > self._size:
            return 0
        offset = self._unpack("<H", self._vtable + place)
        return self._place + offset if offset else 0

    def _follow(self, place: int) -> int:
        return place + self._unpack("<I", place)

    def _unpack(self, code: str, place: int) -> int:
        if place < 0:  # struct would count from the end
            raise ValueError("an offset leads out of its buffer")
        found: tuple[Any, ...] = struct.unpack_from(code, self._data, place)
        return int(found[0])
