"""`retrain`: what can be asked of a run that challenges the champion, once or again and again."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from cli.shared import (
    EFFORT,
    MOMENT,
    SEED,
    SHARE,
    SPAN,
    Command,
    command,
    flag,
    option,
    options,
    problem_of,
    problem_option,
    say,
    words_of,
)
from engine.domain.effort import Effort
from engine.domain.errors import InvalidSetting
from engine.domain.problem import Problem
from engine.settings import Settings, load_settings

_SCRIPT = Path(__file__).parents[1] / "retrain.py"
_JITTER = 0.1
"""Repeated runs start up to this share of the interval later, so that many do not start at once."""
_EXAMPLES = """Examples:
  python retrain.py                              from the records with outcomes
  python retrain.py --data sales.csv             judge a challenger, promote it if it has earned it
  python retrain.py --data sales.csv --dry-run   the same, changing nothing
  python retrain.py --data sales.csv --every 24h
  python retrain.py --data sales.csv --with-records --recalibrate
  python retrain.py --rollout                    step by step, and newer intervals when they break
  python retrain.py --rollout --recalibrate      only the newer intervals; nothing is trained
  python retrain.py --rollback                   back to the champion before; --rollback v1.0.0

Exit code: 0 promoted, 10 the champion was kept, 1 it failed, 2 wrong settings or arguments
"""


@dataclass(frozen=True)
class RetrainingOrder:
    """What one run is asked to do, as its options say it."""

    problem: str | None = None
    data: tuple[Path, ...] = ()
    with_records: bool = False
    since: str | None = None
    layout: str | None = None
    seed: int = 0
    effort: Effort | None = None
    max_bad_share: float = 0.05
    every: int | None = None
    dry_run: bool = False
    yes_major: bool = False
    other_library: bool = False
    recalibrate: bool = False
    rollout: bool = False
    rollback: str | None = None

    @property
    def uses_records(self) -> bool:
        return self.with_records or not self.data


Story = Callable[[RetrainingOrder, Settings, Problem], int]


_OPTIONS = options(
    problem_option,
    option(
        "--data",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE ...",
        help="CSV or Parquet tables with old and new rows; default: the records with outcomes.",
    ),
    flag("--with-records", help="Add the records to --data."),
    option(
        "--since",
        type=MOMENT,
        excludes=("data",),
        unless=("with_records",),
        because="it selects records; add them with --with-records",
        help="Only records from this date or time on.",
    ),
    option(
        "--layout",
        needs=("data",),
        because="it names the layout of the tables",
        help="Layout of the tables' columns; default: the problem's own.",
    ),
    option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random."),
    option("--effort", type=EFFORT, help="As for train_model.py; default: the champion's."),
    option(
        "--max-bad-share",
        type=SHARE,
        default=0.05,
        show_default=True,
        help="As for train_model.py.",
    ),
    option("--every", type=SPAN, help="Run again and again: 90s, 30m, 24h, 7d."),
    flag("--dry-run", help="Judge, but change nothing."),
    flag("--yes-major", help="Allow a changed contract."),
    flag("--other-library", help="Recalibrate under another scikit-learn."),
    flag("--recalibrate", help="Same trees, new intervals."),
    flag(
        "--rollout",
        excludes=("dry_run", "yes_major"),
        because="it compares on live traffic",
        help="Roll out step by step: shadow, canary, champion; or take the next step.",
    ),
    option(
        "--rollback",
        is_flag=False,
        flag_value="",
        metavar="[VERSION]",
        excludes=("since", "data", "with_records", "every", "dry_run", "recalibrate", "rollout"),
        because="it only makes an earlier champion the champion again",
        help="Make an earlier champion the champion again; default: the previous one.",
    ),
)


def retraining_command(story: Story) -> Command:
    """The command that tells `story`, whose docstring is its help."""

    @command("retrain", help=story.__doc__, examples=_EXAMPLES)
    @_OPTIONS
    def retrain(**given: Any) -> int:
        order = RetrainingOrder(**given)
        if order.every is not None:
            tell(order, load_settings(), lambda *_: 0)  # what can be refused is refused before
            _repeat(order.every, words_of(click.get_current_context(), without="every"))
        return tell(order, load_settings(), story)

    return retrain


def tell(order: RetrainingOrder, settings: Settings, story: Story) -> int:
    """Run the story of a problem; raises InvalidSetting if there is no such problem or layout."""
    problem = problem_of(order.problem, settings)
    if order.layout not in {None, *problem.layouts}:
        raise InvalidSetting(f"--layout: {problem.name} has no layout {order.layout}")
    return story(order, settings, problem)


def _repeat(interval: int, words: Iterable[str]) -> NoReturn:
    """Each run is a process of its own: whatever happens to one, the next one starts.

    A run ends with this process: `subprocess.run` kills it when the exception of a signal passes.
    """
    again = [sys.executable, str(_SCRIPT), *words]
    while True:
        code = subprocess.run(again, check=False).returncode
        pause = interval * (1 + random.uniform(0, _JITTER))  # noqa: S311
        say(f"exit code {code}; next run in {pause:,.0f} s")
        time.sleep(pause)
