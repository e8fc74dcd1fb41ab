"""A hundred champions in a row under load: no request fails, no answer mixes two versions."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.server import serving_process
from engine.assemble import open_stores
from engine.domain.version import Version
from engine.settings import Settings
from tests.conftest import HOUSE

pytestmark = pytest.mark.load
SWAPS = 100
CONNECTIONS = 8
NOTICED_SECONDS = 2.0
REQUESTS_PER_SECOND = 500
TWO_VERSIONS = ("v1.0.0", "v1.1.0-rc.1")
BODY = json.dumps(HOUSE).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
Numbers = tuple[float, float, float]


@dataclass
class Load:
    """What callers saw: how often each version answered, and everything that should not be."""

    expected: dict[str, Numbers]
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    is_over: bool = False

    async def keep_asking(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not self.is_over:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.look_at(head, json.loads(await reader.readexactly(size)))
        writer.close()

    def look_at(self, head: bytes, answer: dict[str, Any]) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            self.wrong.append(f"{head!r} {answer}")
            return
        version = str(answer["model_version"])
        self.answered[version] += 1
        if numbers(answer) != self.expected[version]:
            self.wrong.append(f"{version} answered {numbers(answer)}")


def numbers(answer: dict[str, Any]) -> Numbers:
    interval = answer["confidence_interval"]
    return answer["predicted_price"], interval["lower"], interval["upper"]


def answers_of(url: str) -> dict[str, Numbers]:
    pinned = {version: f"{url}/predict?model_version={version}" for version in TWO_VERSIONS}
    return {v: numbers(httpx.post(place, json=HOUSE).json()) for v, place in pinned.items()}


def resident_kilobytes(parent: int) -> int:
    """Memory of all workers of a server."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    lines = [Path(f"/proc/{pid}/status").read_text() for pid in children]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in lines if "VmRSS:" in text)


async def swap(settings: Settings, number: int, load: Load) -> float:
    """Move the pointer, wait until only the new version answers; how long that took."""
    champion = open_stores(settings, "housing").champion
    wanted, other = TWO_VERSIONS[number % 2], TWO_VERSIONS[1 - number % 2]
    after = len(champion.history())
    start = time.perf_counter()
    version = Version.parse(wanted)
    await asyncio.to_thread(champion.move, "swap", version, who="t", why="load", after=after)
    while time.perf_counter() - start < 2 * NOTICED_SECONDS:
        before = load.answered.copy()
        await asyncio.sleep(0.1)
        if load.answered[other] == before[other] and load.answered[wanted] > before[wanted]:
            return time.perf_counter() - start
    return time.perf_counter() - start


async def drive(settings: Settings, port: int, parent: int, load: Load) -> tuple[float, float]:
    """Swap under load; the slowest swap in seconds, and memory at the end by that at the tenth."""
    callers = [asyncio.create_task(load.keep_asking(port)) for _ in range(CONNECTIONS)]
    slowest, tenth = 0.0, 0
    for number in range(1, SWAPS + 1):
        slowest = max(slowest, await swap(settings, number, load))
        if number == 10:
            tenth = resident_kilobytes(parent)
    last = resident_kilobytes(parent)
    load.is_over = True
    await asyncio.gather(*callers)
    return slowest, last / tenth


def test_a_hundred_swaps_under_load(settings: Settings) -> None:
    environment = {
        "MODEL_PATH": str(settings.model_path),
        "DATA_DIR": str(settings.data_dir),
        "API_WORKERS": "2",
        "LOG_LEVEL": "WARNING",
    }
    with serving_process(environment) as (url, process):
        load = Load(answers_of(url))
        start = time.perf_counter()
        port = int(url.rsplit(":", 1)[1])
        slowest, growth = asyncio.run(drive(settings, port, process.pid, load))
        rate = load.answered.total() / (time.perf_counter() - start)
    print(  # noqa: T201
        f"{load.answered}, {rate:.0f}/s, slowest {slowest:.2f} s, memory x{growth:.3f}"
    )
    assert load.wrong == []
    assert rate >= REQUESTS_PER_SECOND
    assert slowest < NOTICED_SECONDS
    assert growth < 1.1
