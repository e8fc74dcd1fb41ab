"""One training at a time: a lock that the operating system lets go when its holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.domain.errors import Outpaced


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Raises Outpaced at once when another process holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Outpaced(f"another training holds {path}; wait until it has ended") from error
        yield
