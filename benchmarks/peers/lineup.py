"""All servers by name: what each is for, how it is started and asked."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks.peers.faces import CONSTANT, OURS, TUTORIAL, Face
from benchmarks.peers.frameworks import FRAMEWORKS, Framework
from benchmarks.peers.processes import Command
from cli.server import ROOT

_UVICORN = ("-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--port")
_PLAIN = "benchmarks.peers.plain"


class Role(StrEnum):
    """A floor answers a constant; a rival is what a user would pick instead of ours."""

    OURS = "ours"
    FLOOR = "floor"
    RIVAL = "rival"


@dataclass(frozen=True)
class Place:
    """`models` holds the files of the peers' estimator, `trained` the DATA_DIR of our training."""

    models: Path
    trained: Path
    cache: Path


@dataclass(frozen=True, eq=False)
class Server:
    """`faces`: how it is asked, by the layout of the body."""

    name: str
    role: Role
    command: Callable[[Place, int], Command]
    faces: Mapping[str, Face] = field(default_factory=lambda: {"rows": OURS})


def ours(records: str, workers: int = 1) -> Server:
    """`python -m app` with a copy of what was trained, records included."""

    def command(place: Place, port: int) -> Command:
        data = place.models / f"ours-{records}-{workers}"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(place.trained, data)
        address = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_WORKERS": str(workers)}
        env = {**address, "DATA_DIR": str(data), "RECORDS": records, "LOG_LEVEL": "WARNING"}
        return Command((sys.executable, "-m", "app"), ROOT, env)

    suffix = "" if workers == 1 else f", {workers} workers"
    return Server(f"ours-{records}{suffix}", Role.OURS, command)


def _plain(name: str, target: tuple[str, ...], role: Role, face: Face) -> Server:
    def command(place: Place, port: int) -> Command:
        words = (sys.executable, *_UVICORN, str(port), *target)
        return Command(words, ROOT, {"MODEL": str(place.models / "named.joblib")})

    return Server(name, role, command, {"rows": face})


def _framework(framework: Framework) -> Server:
    def command(place: Place, port: int) -> Command:
        folder = place.models / framework.name
        folder.mkdir(exist_ok=True)
        home = place.cache / framework.name / "bin"
        found = framework.command(home, folder, port)
        path = {"PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}
        return Command(found.words, found.folder, {**path, **found.env})

    return Server(framework.name, Role.RIVAL, command, {"rows": framework.face})


_FACTORY = "--factory"
_ALL = (
    ours("durable"),
    ours("buffered"),
    ours("off"),
    _plain("bare", (_FACTORY, f"{_PLAIN}:Bare"), Role.FLOOR, CONSTANT),
    _plain("A", (_FACTORY, f"{_PLAIN}:yardstick"), Role.FLOOR, OURS),
    _plain("tutorial", (_FACTORY, f"{_PLAIN}:tutorial"), Role.RIVAL, TUTORIAL),
    *map(_framework, FRAMEWORKS),
)
SERVERS = {server.name: server for server in _ALL}
