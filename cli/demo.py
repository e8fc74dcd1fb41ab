"""A month in a minute: a moving market asks a real service over HTTP, and the service keeps up.

Every day houses are asked about; some are sold, and their prices become known up to two days later.
Every night `retrain.py --rollout` looks at them. Prices near the centre rise on day 8, and far out
on day 19: intervals break, and two nights later a copy of the model with newer ones has taken over.
A few days after each rise somebody has a challenger trained on what was sold since; the nights take
it further step by step. The first becomes champion. While the second is a canary prices far out
fall back, and it is stopped. Exit code 0 if it went so, else 1.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import URLError

import click
import numpy as np

from cli.server import ROOT, ask, serving
from cli.shared import FAILED, command, now, option, say
from engine.assemble import open_stores
from engine.domain.errors import InvalidSetting
from engine.domain.history import Action, History
from engine.settings import Settings
from problems.housing import HOUSING, simulate

_EXAMPLES = """Example:
  predictive demo --keep /tmp/month
"""
_DAYS = 30
_HOUSES = 2_000
_SOLD = 0.25
_LATEST_DAYS = 3
_FIRST_RISE, _SECOND_RISE, _FALL = 8, 19, 25
_TRAINED = {12: _FIRST_RISE, 22: _SECOND_RISE}
"""On which days a challenger is trained, and on the records since which day."""
_LOW, _MOST_LOW = 0.78, 6
"""The coverage that a day should reach, and how many days may stay below it: two at each change."""
_KEPT_CHAMPION = 10
PROMOTED, STOPPED = Action.PROMOTED, Action.ROLLOUT_STOPPED
_DAWN_SECONDS = 0.5
"""Seconds between a night's decision and the first request: every server has read it by then."""


@dataclass
class _Month:
    """What the market knows and the service does not yet: prices, by the day they become known."""

    url: str
    due: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    covered: list[bool] = field(default_factory=list)
    low: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    def ask(self, day: int, rng: np.random.Generator) -> None:
        """A day's houses, in two batches; some of them are sold."""
        houses, prices = _market(day)
        self.covered, self.errors, self.versions = [], [], defaultdict(int)
        for half in np.array_split(np.arange(_HOUSES), 2):
            body = {"houses": [houses[number] for number in half]}
            reply = ask(f"{self.url}/predict/batch", body)
            for number, answer in zip(half, reply["predictions"], strict=True):
                self.versions[answer["model_version"]] += 1
                if rng.random() < _SOLD:
                    self.sell(answer, prices[number], day + int(rng.integers(_LATEST_DAYS)))

    def sell(self, answer: dict[str, Any], price: float, known: int) -> None:
        interval = answer["confidence_interval"]
        self.covered.append(interval["lower"] <= price <= interval["upper"])
        self.errors.append(abs(answer["predicted_price"] / price - 1))
        self.due[known].append({"prediction_id": answer["prediction_id"], "actual": price})

    def report(self, day: int) -> int:
        """Report the outcomes that became known, the latest first; returns how many."""
        outcomes = self.due.pop(day, [])[::-1]
        for start in range(0, len(outcomes), 1_000):
            body = {"outcomes": outcomes[start : start + 1_000]}
            ask(f"{self.url}/feedback", body)
        return len(outcomes)


def _market(day: int) -> tuple[list[dict[str, float]], list[float]]:
    """Houses of one day and what each of them is worth that day."""
    columns = dict(simulate(_HOUSES, 1_000 + day))
    price, distance = columns.pop("price"), columns["distance_to_city"]
    if day >= _FIRST_RISE:
        price = np.where(distance < 12, 1.4 * price, price)
    if _SECOND_RISE <= day < _FALL:
        price = np.where(distance >= 12, 1.5 * price, price)
    names = list(columns)
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows], price.round(-2).tolist()


@command(examples=_EXAMPLES)
@option(
    "--keep", type=click.Path(path_type=Path), help="An empty folder for all files; default: none."
)
def demo(keep: Path | None) -> int:
    """Live through a month of a moving market in two minutes: drift, a roll-out, a roll-back."""
    start = time.monotonic()
    try:
        with _folder(keep) as place:
            _live(place)
    except (RuntimeError, URLError) as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    say(f"took {time.monotonic() - start:.0f} s")
    return 0


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Raises InvalidSetting for a folder that is not empty: its files could be confused with the
    files of this run."""
    if kept is not None:
        if kept.is_dir() and any(kept.iterdir()):
            raise InvalidSetting(f"--keep: {kept} is not empty; name an empty folder or a new one")
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="demo-") as place:
        yield Path(place)


def _live(place: Path) -> None:
    """Train, serve, live through the month, print what happened."""
    env = _settings_of_its_own(place)
    say("training the first champion on the market as it was ...")
    _script(env, "train_model.py", "--rows", "3000")
    with serving(env) as url:
        month, rng, began = _Month(url), np.random.default_rng(0), {}
        for day in range(1, _DAYS + 1):
            began[day] = now()
            month.ask(day, rng)
            known = month.report(day)
            _show(day, month, known)
            if day in _TRAINED:
                lines = _nightly(env, "--since", began[_TRAINED[day]])
            elif ask(f"{url}/deployment")["variants"]:
                lines = _nightly(env)
            else:
                lines = _nightly(env, "--recalibrate")
            for line in lines:
                say(f"        night: {line}")
    past = _history_in(place)
    _print_history(past)
    _judge(past, month.low)


def _judge(past: History, low: list[int]) -> None:
    """Raises RuntimeError if the month did not end as expected."""
    ends = [
        event.action
        for before, event in pairwise(past)
        if event.action == STOPPED or event.version.line != before.version.line
    ]
    if ends != [PROMOTED, STOPPED]:
        raise RuntimeError(
            f"expected one promoted and one stopped challenger, found: {', '.join(ends)}"
        )
    if len(low) > _MOST_LOW:
        raise RuntimeError(f"coverage was below {_LOW:.0%} on days {', '.join(map(str, low))}")


def _settings_of_its_own(place: Path) -> dict[str, str]:
    """Settings that use only this folder for databases, keys and files, whatever the environment
    and `.env` name."""
    data = place / "data"
    return {
        "DATA_DIR": str(data),
        "MODEL_PATH": str(place / "champion.joblib"),
        "REGISTRY_URL": f"sqlite:///{data / 'registry.db'}",
        "RECORDS_URL": f"sqlite:///{data / 'records.db'}",
        "SIGNING_KEY": str(data / "signing_key.pem"),
        "TRUSTED_KEYS": "[]",
        "ADMIN_API_KEY": secrets.token_hex(16),
        "RECORDS": "durable",
        "RECORDS_QUEUE": "10000",
        "RECORDS_KEEP_DAYS": "365",
        "SERVE": "housing",
        "API_WORKERS": "1",
        "API_RELOAD": "false",
        "MAX_BATCH_SIZE": "1000",
        "MAX_BODY_BYTES": "262144",
        "CORS_ORIGINS": "[]",
        "LOG_FILE": str(place / "service.log"),
        "LOG_LEVEL": "ERROR",
        "MODEL_POLL_SECONDS": "0.1",
    }


def _nightly(env: dict[str, str], *arguments: str) -> list[str]:
    """What the scheduled run decides; lines about another copy that stands by are left out."""
    lines = _script(env, "retrain.py", "--rollout", *arguments).splitlines()
    time.sleep(_DAWN_SECONDS)
    told = [line for line in lines if line.startswith(("Keep", "Promote", "roll-out"))]
    return [line for line in told if " stands by" not in line and " outcomes are known" not in line]


def _script(env: dict[str, str], *arguments: str) -> str:
    """What one of the scripts prints; raises RuntimeError when it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, _KEPT_CHAMPION}:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _show(day: int, month: _Month, known: int) -> None:
    coverage = float(np.mean(month.covered))
    if coverage < _LOW:
        month.low.append(day)
    versions = ", ".join(f"{v} {n}" for v, n in sorted(month.versions.items()))
    say(
        f"day {day:2}  {versions:34} {len(month.errors):4} sold, {known:4} outcomes known, "
        f"median error {np.median(month.errors):5.1%}, covered {coverage:5.1%}",
    )


def _history_in(place: Path) -> History:
    data = place / "data"
    settings = Settings(
        data_dir=data,
        model_path=place / "champion.joblib",
        registry_url=f"sqlite:///{data / 'registry.db'}",
        _env_file=None,
    )
    return open_stores(settings, HOUSING.name).champion.history()


def _print_history(past: History) -> None:
    say("the history of the champion:")
    for event in past:
        challenger = f" ({event.challenger})" if event.challenger else ""
        say(
            f"{event.number:3}  {event.action:19} champion {event.version}{challenger}: {event.why}"
        )
