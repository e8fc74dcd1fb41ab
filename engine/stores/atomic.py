"""A file that is written completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOR_ALL_TO_READ = 0o644
"""As any other file, which those of `mkstemp` are not."""


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
    with _beside(path) as (handle, made):
        yield made
        os.fsync(handle)
        made.chmod(_FOR_ALL_TO_READ)
        made.replace(path)


@contextmanager
def written_beside(path: Path, data: bytes, *, mode: int = _FOR_ALL_TO_READ) -> Iterator[Path]:
    """A file beside `path`, on disk to the last byte; renamed or linked inside the block.

    Never half a file, not even after a power cut; what was not renamed is gone afterwards.
    """
    with _beside(path) as (handle, made):
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(handle)
        made.chmod(mode)
        yield made
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _beside(path: Path) -> Iterator[tuple[int, Path]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        yield handle, Path(name)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
