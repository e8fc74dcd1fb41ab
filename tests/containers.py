"""The service in real containers: `docker compose` for one project that is gone afterwards."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli.server import ROOT, free_port

HEALTHY_SECONDS = 60


@dataclass(frozen=True)
class Stack:
    """One compose project."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    base_url: str

    def compose(self, *arguments: str) -> str:
        return run(*self.command, *arguments, env=self.env)

    def container(self) -> str:
        return self.compose("ps", "-a", "-q", "api").strip()

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the running container, whatever its exit code."""
        return subprocess.run(
            ["docker", "exec", self.container(), *command], capture_output=True, text=True
        )

    def state(self, path: str) -> str:
        """One fact that the engine knows about the container."""
        return run("docker", "inspect", "-f", f"{{{{{path}}}}}", self.container()).strip()

    def ask(self, path: str, body: Any = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.reply(path, body).raise_for_status().json()
        return answer

    def reply(self, path: str, body: Any = None) -> httpx.Response:
        method = "GET" if body is None else "POST"
        return httpx.request(method, self.base_url + path, json=body, trust_env=False)

    def wait_until_live(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            try:
                self.ask("/live")
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    pytest.fail(f"not live after {HEALTHY_SECONDS} s\n{self.compose('logs')}")
                time.sleep(0.2)
            else:
                return

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while self.state(".State.Health.Status") != "healthy":
            if time.monotonic() > deadline:
                pytest.fail(f"not healthy after {HEALTHY_SECONDS} s\n{self.compose('logs')}")
            time.sleep(0.5)


@contextmanager
def started(checkout: Path = ROOT, *, is_healthy: bool = True, **env: str) -> Iterator[Stack]:
    """Built, on a free port, with a fresh volume and, if it is to be, healthy; nothing of it is
    left behind."""
    port = str(free_port())
    project = f"test-{uuid4().hex[:8]}"
    stack = Stack(
        command=(
            *(*compose_command(), "-p", project, "--project-directory", str(checkout)),
            *("-f", str(checkout / "docker-compose.yml")),
        ),
        env={**os.environ, **builder(), "API_PORT": port, **env},
        base_url=f"http://127.0.0.1:{port}",
    )
    try:
        stack.compose("up", "--build", "-d")
        if is_healthy:
            stack.wait_until_healthy()
        else:
            stack.wait_until_live()
        yield stack
    finally:
        stack.compose(
            "--profile", "train", "--profile", "retrain", "down", "--volumes", "--rmi", "local"
        )


def compose_command() -> tuple[str, ...]:
    """The command that is there; without one, or without an engine, the test fails."""
    if not succeeds("docker", "info"):
        pytest.fail("the docker tests need docker and a running engine; `docker info` fails")
    for command in (("docker", "compose"), ("docker-compose",)):
        if succeeds(*command, "version"):
            return command
    pytest.fail("the docker tests need `docker compose` or docker-compose")


def builder() -> dict[str, str]:
    """Without buildx: the builder of old, on this machine's network."""
    if succeeds("docker", "buildx", "version"):
        return {}
    return {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0", "BUILD_NETWORK": "host"}


def succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True).returncode == 0


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; when it fails, so does the test, with all of its output."""
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
