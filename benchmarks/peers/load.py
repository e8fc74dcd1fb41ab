"""One run of wrk, and the probe that shows how fast the machine is at that moment."""

import json
import os
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("requests.lua")
_LOOPS = 150_000


@dataclass(frozen=True)
class Run:
    """`wrk_cores` is how many cores wrk itself took."""

    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    wrk_cores: float


class NoAnswerError(Exception):
    """Not one answer in a whole run."""


def what_is_missing(*, may_install: bool) -> str | None:
    """What this machine lacks; root may install wrk on Debian and its kin."""
    if not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None:
        return "servers are pinned to a core with taskset, which only Linux has"
    if len(os.sched_getaffinity(0)) < 2:
        return "two cores are needed, one for the servers and one for wrk"
    apt = shutil.which("apt-get")
    if shutil.which("wrk") is None and may_install and apt is not None and os.geteuid() == 0:
        subprocess.run([apt, "install", "-y", "-qq", "wrk"], check=False)
    if shutil.which("wrk") is None:
        return "wrk is not installed: apt-get install wrk, or https://github.com/wg/wrk"
    return None


def ask(
    url: str, bodies: Path, *, first: int, connections: int, seconds: int, core: int | None
) -> Run:
    """Ask with the bodies from number `first` on, wrk on `core`; an error of any kind raises."""
    pin = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pin, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
    command += ["--latency", "-s", str(_SCRIPT), url, "--", str(bodies), str(first)]
    before = _seconds_of_children()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = _seconds_of_children() - before
    if done.returncode != 0 or not done.stdout.rstrip().endswith("}"):
        raise RuntimeError(f"wrk failed at {url}:\n{done.stdout}{done.stderr}")
    said = json.loads(done.stdout.rstrip().rsplit("\n", 1)[1])
    if not said["requests"] and not said["refused"] and not said["broken"]:
        raise NoAnswerError(f"no answer within {seconds} s")
    if said["refused"] or said["broken"]:
        raise RuntimeError(f"{url} did not answer every request with 200: {said}")
    rate = said["requests"] / said["seconds"]
    return Run(said["requests"], rate, said["p50_ms"], said["p99_ms"], cpu / said["seconds"])


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def probe_ms(core: int) -> float:
    """Milliseconds of a fixed loop on the core of the servers, the best of three."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return 1_000 * min(_loop_seconds() for _ in range(3))
    finally:
        os.sched_setaffinity(0, allowed)


def _loop_seconds() -> float:
    start = time.perf_counter()
    total = 0
    for number in range(_LOOPS):
        total += number & 7
    return time.perf_counter() - start
