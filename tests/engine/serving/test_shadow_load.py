"""A shadow that takes a second for every answer: callers do not notice."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from cli.server import ROOT, free_port, stop, wait_until_live
from engine.assemble import open_stores
from engine.domain.traffic import SHADOW, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.settings import Settings
from tests.cli.test_retrain import environment
from tests.conftest import HOUSE, empty_settings

pytestmark = pytest.mark.load
CHALLENGER = Version.parse("v1.1.0-rc.1")
ROUNDS, SECONDS, CONNECTIONS = 6, 2.0, 8
NOISE = 1.5
"""Between the medians over rounds of two 99th percentiles on a machine whose speed drifts."""
BODY = json.dumps(HOUSE).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
SLEEPY = """
import sys, time
from app.__main__ import main
from engine.serving.deployment import VariantModel

predict = VariantModel.predict

def slowly(self, rows, confidence):
    if self.variant == "shadow":
        time.sleep(1)
    return predict(self, rows, confidence)

VariantModel.predict = slowly
sys.argv = ["app"]
main()
"""


@contextmanager
def served(settings: Settings) -> Iterator[int]:
    """The service in a process of its own, where every shadow sleeps a second."""
    port = free_port()
    env = {**environment(settings), "API_PORT": str(port), "LOG_LEVEL": "ERROR"}
    process = subprocess.Popen([sys.executable, "-c", SLEEPY], cwd=ROOT, env=env, text=True)
    try:
        wait_until_live(f"http://127.0.0.1:{port}", process)
        yield port
    finally:
        stop(process)


async def latencies(port: int) -> list[float]:
    """How long each of the requests took that some callers made one after another, in seconds."""
    end, took = time.perf_counter() + SECONDS, []

    async def keep_asking() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            start = time.perf_counter()
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(keep_asking() for _ in range(CONNECTIONS)))
    return took


def test_a_shadow_that_sleeps_a_second_does_not_slow_the_answers(
    settings: Settings, home: Path, tmp_path: Path
) -> None:
    shadowed = empty_settings(tmp_path / "shadowed")
    copytree(home, tmp_path / "shadowed")
    stores = open_stores(shadowed, "housing")
    known = stores.artifacts.versions("housing")
    set_variants(
        stores.champion, known, [VariantRequest(CHALLENGER, SHADOW)], who="tests", why="load"
    )
    with ExitStack() as running:
        ports = [running.enter_context(served(one)) for one in (settings, shadowed)]
        rounds = [[asyncio.run(latencies(port)) for port in ports] for _ in range(ROUNDS)]
    p99 = np.median([[np.quantile(took, 0.99) for took in pair] for pair in rounds], axis=0)
    counts = [sum(len(pair[side]) for pair in rounds) for side in (0, 1)]
    print(f"p99 {1e3 * p99[0]:.1f} ms alone, {1e3 * p99[1]:.1f} ms shadowed, {counts} answers")  # noqa: T201
    assert p99[1] < NOISE * p99[0]
