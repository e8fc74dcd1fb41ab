"""Challenge the champion with newer rows: promote what is honestly better, else say why not."""

import argparse
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from engine.assemble import Stores, open_stores
from engine.domain import history
from engine.domain.errors import InvalidSetting, ServiceError, UnknownVersion
from engine.domain.version import Version
from engine.learning.arguments import seconds, seed, share
from engine.settings import Settings, load_settings
from problems import PROBLEMS

PROMOTED, KEPT_CHAMPION, FAILED, MISUSED, INTERRUPTED, TERMINATED = 0, 10, 1, 2, 130, 143
WHO = "retrain.py"
JITTER = 0.1
"""Repeated runs start up to this share of the interval later, so that many do not start at once."""
EXAMPLES = """examples:
  python retrain.py --data sales.csv             judge a challenger, promote it if it has earned it
  python retrain.py --data sales.csv --dry-run   the same, changing nothing
  python retrain.py --data sales.csv --every 24h
  python retrain.py --data sales.csv --recalibrate
  python retrain.py --rollback                   back to the champion before; --rollback v1.0.0

exit code: 0 promoted, 10 the champion was kept, 1 it failed, 2 wrong settings or arguments
"""


def main() -> int:
    arguments = parse()
    try:
        settings = load_settings()
    except InvalidSetting as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return MISUSED
    if arguments.every is None:
        return once(arguments, settings)
    try:
        return repeat(arguments.every)
    except KeyboardInterrupt:
        return INTERRUPTED


def repeat(interval: int) -> int:
    """Each run is a process of its own: whatever happens to one, the next one starts.

    A run ends with this process: `subprocess.run` kills it when the exception of a signal passes.
    """
    position = next(at for at, word in enumerate(sys.argv) if word.startswith("--every"))
    width = 1 if "=" in sys.argv[position] else 2
    command = [sys.executable, *sys.argv[:position], *sys.argv[position + width :]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    while True:
        code = subprocess.run(command, check=False).returncode  # noqa: S603
        pause = interval * (1 + random.uniform(0, JITTER))  # noqa: S311
        print(f"exit code {code}; next run in {pause:,.0f} s", flush=True)  # noqa: T201
        time.sleep(pause)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--problem", choices=sorted(PROBLEMS), default="housing")
    parser.add_argument("--data", type=Path, nargs="+", help="CSV or Parquet tables, old and new")
    parser.add_argument("--layout", help="whose columns the tables have; default: ours")
    parser.add_argument("--seed", type=seed, default=0, help="seed of everything random (0)")
    parser.add_argument("--max-bad-share", type=share, default=0.05, help="as in train_model.py")
    parser.add_argument("--every", type=seconds, help="run again and again: 90s, 30m, 24h, 7d")
    parser.add_argument("--dry-run", action="store_true", help="judge, but change nothing")
    parser.add_argument("--yes-major", action="store_true", help="allow a changed contract")
    parser.add_argument(
        "--other-library", action="store_true", help="recalibrate under another scikit-learn"
    )
    parser.add_argument("--recalibrate", action="store_true", help="same trees, new intervals")
    parser.add_argument(
        "--rollback", nargs="?", const="", metavar="VERSION", help="back to an earlier champion"
    )
    arguments = parser.parse_args()
    others = (arguments.data, arguments.every, arguments.dry_run, arguments.recalibrate)
    if arguments.rollback is not None and any(others):
        parser.error("--rollback goes alone: it moves the pointer, at once and once")
    if arguments.rollback is None and not arguments.data:
        parser.error("--data FILE … is needed: the rows to learn from and to judge on")
    if arguments.layout not in {None, *PROBLEMS[arguments.problem].layouts}:
        parser.error(f"--layout: {arguments.problem} has no layout {arguments.layout}")
    return arguments


def once(arguments: argparse.Namespace, settings: Settings) -> int:
    """One run, whatever it finds; the exit code."""
    try:
        stores = open_stores(settings, arguments.problem)
        if arguments.rollback is not None:
            return rollback(stores, arguments.rollback)
        with stores.training():
            return reconcile(arguments, settings, stores)
    except (ServiceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        print("error: interrupted; the champion was not changed", file=sys.stderr)  # noqa: T201
        return INTERRUPTED


def rollback(stores: Stores, wanted: str) -> int:
    """A pointer move; nothing is trained, so no training library is imported on this way."""
    past = stores.champion.history()
    version = Version.parse(wanted) if wanted else history.before(past)
    if version not in history.champions(past):
        raise UnknownVersion(f"{version} never was champion; those were {known_champions(past)}")
    why = f"back from {history.champion(past)}"
    follows = stores.champion.move("rolled back", version, who=WHO, why=why, after=len(past))
    note = "" if follows else f"; {stores.champion.place} could not be written"
    print(f"champion: {version}, {why}{note}")  # noqa: T201
    return PROMOTED


def known_champions(past: history.History) -> str:
    return ", ".join(map(str, history.champions(past))) or "none"


def reconcile(arguments: argparse.Namespace, settings: Settings, stores: Stores) -> int:
    """Judge a challenger on rows neither model has seen, and act on the verdict."""
    from engine.learning.retrain import Order, retrain  # a rollback must not wait for these

    order = Order(
        files=arguments.data,
        layout=arguments.layout,
        seed=arguments.seed,
        max_bad_share=arguments.max_bad_share,
        reports=settings.data_dir / "reports",
        who=WHO,
        at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        is_dry=arguments.dry_run,
        is_recalibration=arguments.recalibrate,
        allows_major=arguments.yes_major,
        allows_other_library=arguments.other_library,
    )
    problem = PROBLEMS[arguments.problem]
    changed = retrain(problem, stores.champion, stores.artifacts, order)
    return PROMOTED if changed else KEPT_CHAMPION


if __name__ == "__main__":
    sys.exit(main())
