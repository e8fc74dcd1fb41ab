"""Locks: one training at a time over all processes, one writer at a time in a process."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from engine.domain.errors import Outpaced


@contextmanager
def exclusive(path: Path, holder: str = "another training") -> Iterator[None]:
    """Raises Outpaced at once when another process, the `holder`, has the lock, which the operating
    system releases when that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Outpaced(f"{holder} holds {path}; wait until it has ended") from error
        yield


class Turn:
    """For `with`: the threads of a process wait for each other, so long; then TimeoutError.

    SQLite has no queue for its own lock. A waiting writer polls it, and may never find it free
    while others write one after the other.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = Lock()
        self._seconds = seconds

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._seconds):
            raise TimeoutError(f"another thread has been writing for {self._seconds:g} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
