"""A file that is written completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: Path) -> None:
    """Raises OSError now, rather than after an hour of training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    with tempfile.TemporaryFile(dir=path.parent):
        pass


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A file beside `path`, of this block alone, that takes its place when the block ends well and
    is removed when it does not.

    Raises IsADirectoryError, before anything is written, where `path` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        yield Path(name)
        os.fsync(handle)
        Path(name).chmod(0o644)  # as any other file, which mkstemp's are not
        Path(name).replace(path)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
