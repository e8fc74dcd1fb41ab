"""A server with all its processes: start it, let it sleep while others are asked, stop it."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

_START_SECONDS = 90
_STOP_SECONDS = 12
_MARK = "BENCH_SERVER"


class RefusedError(Exception):
    """A reply that is not 200."""


@dataclass(frozen=True)
class Command:
    """What is typed to start a server on a port."""

    words: tuple[str, ...]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Running:
    """`core` is the one core it may use, or None for all of them."""

    port: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    mark: str
    born: float

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def first_answer_seconds(self, path: str, body: bytes) -> float:
        """Seconds from the start to the first answer; asks until there is one."""
        while time.perf_counter() - self.born < _START_SECONDS:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}: {self.said()}")
            with suppress(OSError, HTTPException, RefusedError):
                post(self.port, path, body)
                return time.perf_counter() - self.born
            time.sleep(0.005)
        raise RuntimeError(f"no answer within {_START_SECONDS} s: {self.said()}")

    def said(self) -> str:
        """The end of what it printed."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")[-2_000:]

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def memory_mb(self) -> float:
        """Proportional set size of all its processes, as the kernel counts it."""
        return sum(map(_pss_kb, self._members())) / 1_024

    def cpu_seconds(self) -> float:
        """Seconds that all its processes have spent on cores."""
        return sum(map(_ticks, self._members())) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.resume()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        while self._members():  # a supervisor may start a new worker meanwhile
            self._signal(signal.SIGKILL)
            self.process.poll()
            time.sleep(0.02)
        self.process.wait()
        self.output.close()

    def _signal(self, number: int) -> None:
        for pid in self._members():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _members(self) -> set[int]:
        """Its descendants, and those that have lost their parent but keep the mark."""
        parents = {pid: _parent(pid) for pid in _pids()}
        marked = f"{_MARK}={self.mark}".encode()
        found = {pid for pid in parents if marked in _environment(pid)}
        if self.process.poll() is None:
            found.add(self.process.pid)
        while more := {p for p, parent in parents.items() if parent in found} - found:
            found |= more
        return found


def start(command: Command, port: int, core: int | None) -> Running:
    """One thread of OpenMP, for every server; `core` is the one core that it may use."""
    mark = uuid4().hex
    inherited = {n: v for n, v in os.environ.items() if n != "VIRTUAL_ENV"}
    env = {**inherited, "OMP_NUM_THREADS": "1", **command.env, _MARK: mark}
    pin = [] if core is None else ["taskset", "-c", str(core)]
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
    born = time.perf_counter()
    process = subprocess.Popen(
        [*pin, *command.words],
        cwd=command.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    return Running(port, process, output, mark, born)


def post(port: int, path: str, body: bytes) -> Any:
    """The JSON of a reply; raises RefusedError for anything but 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RefusedError(f"{reply.status}: {text[:500].decode(errors='replace')}")
        return json.loads(text)
    finally:
        connection.close()


def get(port: int, path: str) -> Any:
    """The JSON of a reply to GET, whatever its status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _ticks(pid: int) -> int:
    return sum(map(int, _stat(pid)[11:13]))


def _stat(pid: int) -> list[bytes]:
    """What `/proc/…/stat` has after the name: state, parent, …, and at 11 and 12 the time used."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _environment(pid: int) -> bytes:
    return _read(pid, "environ")


def _pss_kb(pid: int) -> int:
    lines = _read(pid, "smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(b"Pss:"))


def _read(pid: int, name: str) -> bytes:
    """Nothing where the process is gone, or another user's."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""
