"""An environment for each peer, outside of the project's own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.frameworks import Framework

_PYTHON = "3.11"
_MARKER = "installed.txt"


class NotInstalledError(Exception):
    """Why a peer is left out."""


def default_cache() -> Path:
    return Path(os.environ.get("BENCH_CACHE", "~/.cache/predictive-bench")).expanduser()


def install(framework: Framework, cache: Path, *, may_install: bool) -> None:
    """Do nothing where the same pins are there; raises NotInstalledError with the reason."""
    home = cache / framework.name
    digest = hashlib.sha256(framework.requirements.read_bytes()).hexdigest()
    marker = home / _MARKER
    if marker.exists() and marker.read_text() == digest:
        return
    if not may_install:
        raise NotInstalledError("it is not installed: make bench installs it")
    shutil.rmtree(home, ignore_errors=True)
    print(f"installing {framework.name} …", file=sys.stderr)
    _run_uv("venv", "--python", _PYTHON, str(home))
    python = str(home / "bin" / "python")
    _run_uv("pip", "install", "--python", python, "-r", str(framework.requirements))
    marker.write_text(digest)


def _run_uv(*words: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [sys.executable, "-m", "uv", *words, "--quiet"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalledError(f"uv {words[0]} failed: {done.stderr.strip()[-500:]}")
