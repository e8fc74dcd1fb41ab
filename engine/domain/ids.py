"""Random names, from the operating system's generator, which is asked once for many of them."""

import os
from threading import Lock

_POOL_BYTES = 4_096


class RandomNames:
    """Hexadecimal names that nobody can guess. To ask the operating system for each of them takes
    longer than most of what a request does. Threads may share it."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0
        self._lock = Lock()

    def take(self, size: int) -> str:
        """From `size` random bytes; each byte is used once."""
        with self._lock:
            start, self._at = self._at, self._at + size
            if self._at > len(self._pool):
                self._pool, start, self._at = os.urandom(_POOL_BYTES), 0, size
            return self._pool[start : self._at].hex()
