"""A real server in a process of its own, on a free port of this machine."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

ROOT = Path(__file__).parents[1]
_START_SECONDS = 30
_STOP_SECONDS = 15
_NO_PROXY = build_opener(ProxyHandler({}))
_OURS = ("app",)


@contextmanager
def serving(
    env: Mapping[str, str], command: Sequence[str] = _OURS, folder: Path = ROOT
) -> Iterator[str]:
    """The base URL of `python -m` this command with these settings, `{port}` filled in; on failure
    the error has its output."""
    with serving_process(env, command, folder) as (base_url, _):
        yield base_url


@contextmanager
def serving_process(
    env: Mapping[str, str], command: Sequence[str] = _OURS, folder: Path = ROOT
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The base URL, and the process behind it."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as output:
        process = _start(env, command, port=port, folder=folder, output=output)
        try:
            wait_until_live(base_url, process)
            yield base_url, process
        except BaseException as error:
            output.seek(0)
            error.add_note(f"the server said:\n{output.read()}")
            raise
        finally:
            stop(process)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _start(
    env: Mapping[str, str], command: Sequence[str], *, port: int, folder: Path, output: IO[str]
) -> subprocess.Popen[str]:
    address = {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-m", *(word.format(port=port) for word in command)],
        cwd=folder,
        env={**os.environ, **address, **env},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_live(base_url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        try:
            _NO_PROXY.open(f"{base_url}/live", timeout=2).close()
        except (URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not live after {_START_SECONDS} s") from None
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server ended with exit code {process.returncode}")


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def ask(url: str, body: Any = None) -> Any:
    """The JSON of a reply to GET, or to POST where there is a body; raises URLError for others."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own server
    with _NO_PROXY.open(request) as reply:
        return json.load(reply)
