"""Challenge the champion with newer rows: promote what is honestly better, else say why not."""

import argparse
import random
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from engine.arguments import (
    add_problem,
    exit_code,
    moment,
    parser_of,
    seconds,
    seed,
    share,
    unwind_when_terminated,
)
from engine.assemble import Stores, card_of, open_records, open_stores
from engine.domain import history
from engine.domain.errors import (
    InvalidSetting,
    NothingToJudge,
    UnknownVersion,
    UnusableTable,
)
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.schema import BINARY
from engine.domain.times import written
from engine.domain.version import Version
from engine.settings import Settings, load_settings
from engine.watching.rollout import ADVANCE, REPLACE, under_way
from engine.watching.steer import Helm, refuse_beside_others
from problems import named

PROMOTED, KEPT_CHAMPION = 0, 10
WHO = "retrain.py"
JITTER = 0.1
"""Repeated runs start up to this share of the interval later, so that many do not start at once."""
EXAMPLES = """examples:
  python retrain.py                              from the records with outcomes
  python retrain.py --data sales.csv             judge a challenger, promote it if it has earned it
  python retrain.py --data sales.csv --dry-run   the same, changing nothing
  python retrain.py --data sales.csv --every 24h
  python retrain.py --data sales.csv --with-records --recalibrate
  python retrain.py --rollout                    step by step, and newer intervals when they break
  python retrain.py --rollout --recalibrate      only the newer intervals; nothing is trained
  python retrain.py --rollback                   back to the champion before; --rollback v1.0.0

exit code: 0 promoted, 10 the champion was kept, 1 it failed, 2 wrong settings or arguments
"""


def main() -> int:
    arguments = parse()
    return exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """One run, or one after the other; what can be refused is refused before the first."""
    settings = load_settings()
    problem = named(arguments.problem or settings.serve[0], partial(card_of, settings))
    if arguments.layout not in {None, *problem.layouts}:
        raise InvalidSetting(f"--layout: {problem.name} has no layout {arguments.layout}")
    return repeat(arguments.every) if arguments.every else once(arguments, settings, problem)


def repeat(interval: int) -> int:
    """Each run is a process of its own: whatever happens to one, the next one starts.

    A run ends with this process: `subprocess.run` kills it when the exception of a signal passes.
    """
    position = next(at for at, word in enumerate(sys.argv) if word.startswith("--every"))
    width = 1 if "=" in sys.argv[position] else 2
    command = [sys.executable, *sys.argv[:position], *sys.argv[position + width :]]
    unwind_when_terminated()
    while True:
        code = subprocess.run(command, check=False).returncode  # noqa: S603
        pause = interval * (1 + random.uniform(0, JITTER))  # noqa: S311
        print(f"exit code {code}; next run in {pause:,.0f} s", flush=True)  # noqa: T201
        time.sleep(pause)


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    add_problem(parser)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        help="CSV or Parquet tables, old and new; without, the records with outcomes",
    )
    parser.add_argument("--with-records", action="store_true", help="add the records to --data")
    parser.add_argument("--since", type=moment, help="only records from this date or time on")
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
        "--rollout", action="store_true", help="step by step: shadow, canary, champion; or go on"
    )
    parser.add_argument(
        "--rollback", nargs="?", const="", metavar="VERSION", help="back to an earlier champion"
    )
    return checked(parser, parser.parse_args())


def checked(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Ends with exit code 2 where arguments do not go together."""
    others = ("since", "data", "with_records", "every", "dry_run", "recalibrate", "rollout")
    if arguments.rollback is not None and any(getattr(arguments, name) for name in others):
        parser.error("--rollback goes alone: it moves the pointer, at once and once")
    if arguments.rollout and (arguments.dry_run or arguments.yes_major):
        parser.error("--rollout compares on live traffic: no --dry-run, and no changed contract")
    if arguments.since and arguments.data and not arguments.with_records:
        parser.error("--since is about records; add them with --with-records")
    if arguments.layout and not arguments.data:
        parser.error("--layout says whose columns tables have; name them with --data")
    return arguments


def once(arguments: argparse.Namespace, settings: Settings, problem: Problem) -> int:
    """One run, whatever it finds; the exit code."""
    stores = open_stores(settings, problem.name)
    if arguments.rollback is not None:
        return rollback(stores, arguments.rollback)
    with stores.training():
        return reconcile(arguments, settings, problem, stores)


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


def reconcile(
    arguments: argparse.Namespace, settings: Settings, problem: Problem, stores: Stores
) -> int:
    """Go on with the roll-out that is under way, or judge a challenger and act on the verdict."""
    helm = Helm(problem, stores.champion, stores.artifacts, WHO)
    with closing(open_records(settings)) as records:
        if not arguments.rollout:
            changed = challenge(arguments, settings, helm, records)
        elif settings.records == "off":
            raise InvalidSetting("RECORDS: off; a roll-out goes by what is recorded")
        else:
            changed = roll_out(arguments, settings, helm, records)
    return PROMOTED if changed else KEPT_CHAMPION


def roll_out(
    arguments: argparse.Namespace, settings: Settings, helm: Helm, records: Records
) -> bool:
    """A look at the roll-out that is under way or else a challenger, and at the copy that stands
    by; whether the champion changed."""
    from engine.learning.standby import Post  # a rollback must not wait for this

    if helm.champion.stamp() is None:
        raise NothingToJudge("there is no champion yet; train one with train_model.py")
    for missing in (path for path in arguments.data or () if not path.exists()):
        raise UnusableTable(f"{missing} does not exist")
    only_copies = arguments.recalibrate and helm.problem.target.kind != BINARY
    if only_copies and (arguments.data or arguments.since):
        raise InvalidSetting("--rollout --recalibrate looks at the newest records, at no others")
    is_under_way = under_way(helm.champion.history()) is not None
    if not is_under_way:
        refuse_beside_others(helm.champion.history())
    arrived = is_under_way and roll_on(helm, records)
    now = written(datetime.now(UTC))
    night = Post(helm.problem, helm.champion, helm.artifacts, helm.who, now).watch(records)
    for line in night.told:
        say(f"roll-out: {line}")
    trained = not (is_under_way or only_copies) and challenge(arguments, settings, helm, records)
    return arrived or night.is_replaced or trained


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def roll_on(helm: Helm, records: Records) -> bool:
    """One look at the candidate; whether it is champion now."""
    step = helm.step(records, written(datetime.now(UTC)))
    past = helm.champion.history()
    say(f"roll-out: {step.move} - {step.reason} champion: {history.champion(past)}")
    return step.move in {ADVANCE, REPLACE} and under_way(past) is None


def challenge(
    arguments: argparse.Namespace, settings: Settings, helm: Helm, records: Records
) -> bool:
    """Whether the champion changed."""
    from engine.learning.retrain import Order, retrain
    from engine.tables.recorded import Sources  # a rollback must not wait for these

    uses_records = arguments.with_records or not arguments.data
    order = Order(
        sources=Sources(
            arguments.data or (),
            arguments.layout,
            records if uses_records else None,
            arguments.since,
        ),
        seed=arguments.seed,
        max_bad_share=arguments.max_bad_share,
        reports=settings.data_dir / "reports",
        who=WHO,
        at=written(datetime.now(UTC)),
        is_dry=arguments.dry_run,
        is_recalibration=arguments.recalibrate,
        allows_major=arguments.yes_major,
        allows_other_library=arguments.other_library,
        roll_out=helm.start if arguments.rollout else None,
    )
    return retrain(helm.problem, helm.champion, helm.artifacts, order)


if __name__ == "__main__":
    sys.exit(main())
