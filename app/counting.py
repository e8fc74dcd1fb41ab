"""The counts of several workers of one server, added up in a folder that they share.

gunicorn and `uvicorn --workers` start workers that know nothing of each other. What they have in
common is their parent, so the folder is named after its process id. Process ids are reused, so each
worker holds a lock while it lives: a folder that nobody holds is left over, and is removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import IO

from prometheus_client import values

from engine.domain.errors import InvalidSetting

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The folder in which prometheus_client keeps the counts of several processes. If it is set, that
folder is used."""


@contextmanager
def counting_together() -> Iterator[None]:
    """Metrics that are made inside are added up over all workers, where there may be several."""
    if _VARIABLE in os.environ or not _is_worker():
        yield
        return
    alone = values.ValueClass
    with shared_folder(Path(tempfile.gettempdir()) / f"predictive-{os.getuid()}") as folder:
        os.environ[_VARIABLE] = str(folder)
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            values.ValueClass = alone
            del os.environ[_VARIABLE]


def _is_worker() -> bool:
    """uvicorn starts its workers by multiprocessing; gunicorn names itself in the environment."""
    of_gunicorn = os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")
    return of_gunicorn or parent_process() is not None


@contextmanager
def shared_folder(base: Path) -> Iterator[Path]:
    """The folder of all workers of one parent: the first one makes it, the last one removes it.

    Raises InvalidSetting where `base` belongs to another user, who could change the counts.
    """
    base.mkdir(mode=0o700, exist_ok=True)
    if base.lstat().st_uid != os.getuid():
        raise InvalidSetting(f"{_VARIABLE}: {base} belongs to another user; name another folder")
    folder = base / str(os.getppid())
    with ExitStack() as life:
        with _one_at_a_time(base):
            _remove_abandoned(base)
            folder.mkdir(exist_ok=True)
            fcntl.flock(life.enter_context(_lock_of(folder)), fcntl.LOCK_SH)
        yield folder
    with _one_at_a_time(base):
        _remove_abandoned(base)


def _lock_of(folder: Path) -> IO[str]:
    """The file that every worker holds while it lives."""
    return (folder / "lock").open("a")


@contextmanager
def _one_at_a_time(base: Path) -> Iterator[None]:
    """No two workers make or remove folders at the same moment."""
    with _lock_of(base) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _remove_abandoned(base: Path) -> None:
    """Folders that no worker holds: their server has ended, or was killed."""
    for folder in base.glob("*/"):
        with _lock_of(folder) as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
