"""Train every candidate on a table, show how they compare, keep the best as the champion."""

import argparse
import re
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.arguments import add_problem, exit_code, parser_of, rows, seed, share
from engine.assemble import Stores, card_of, export, open_features, open_stores
from engine.domain.errors import ContractChanged, InvalidSetting, ServiceError
from engine.domain.problem import SIMULATED, Problem
from engine.domain.times import written
from engine.domain.version import FIRST
from engine.settings import PROBLEM_NAME, Settings, load_settings
from problems import PROBLEMS, named, own

if TYPE_CHECKING:
    from engine.learning.release import Order

PROMOTED, NOT_PROMOTED = 0, 10
ROWS = 20_000
MAX_BAD_SHARE = 0.05
WHO = "train_model.py"
EXAMPLES = """examples:
  python train_model.py                                    the simulated market
  python train_model.py --problem churn
  python train_model.py --data sales.csv                   a table in the problem's columns
  python train_model.py --data sales.csv --out /tmp/sales.joblib
  python train_model.py --data my.csv --target price       a table of your own, as it is
  python train_model.py --problem my --data newer.csv      the same problem, trained anew
  python train_model.py --data my.csv --target price --time sold_on      the newest rows judge
  python train_model.py --served                           what SERVE names and has no model yet

exit code: 0 the new model is champion, 10 it is not, because its intervals do not hold,
1 it failed, 2 wrong settings or arguments
"""
OF_TABLES = ("name", "drop", "positive", "time", "no_time", "yes", "yes_major")
"""Options that go with --target alone."""
ALONE = ("problem", "data", "layout", "out", "target")
"""Options that --served does not go with."""


def main() -> int:
    arguments = parse()
    return exit_code(lambda: run(arguments, load_settings()))


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.served:
        is_promoted = train_served(arguments, settings)
    elif arguments.out:
        is_promoted = to_file(arguments, settings)
    else:
        is_promoted = to_registry(name_of(arguments, settings), arguments, settings)
    return PROMOTED if is_promoted else NOT_PROMOTED


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    add_problem(parser)
    parser.add_argument("--data", type=Path, help="a CSV or Parquet table; default: simulated")
    parser.add_argument("--layout", help="whose columns the table has; default: ours")
    parser.add_argument("--rows", type=rows, default=ROWS, help=f"rows to simulate ({ROWS})")
    parser.add_argument("--seed", type=seed, default=0, help="seed of everything random (0)")
    parser.add_argument(
        "--max-bad-share",
        type=share,
        default=MAX_BAD_SHARE,
        help=f"stop when more rows than this break the schema ({MAX_BAD_SHARE})",
    )
    parser.add_argument(
        "--out", type=Path, help="write the best here, registering nothing; default: MODEL_PATH"
    )
    parser.add_argument(
        "--accept", action="store_true", help="promote it even if its intervals do not hold"
    )
    parser.add_argument(
        "--served", action="store_true", help="train what is served and has no model, if any"
    )
    own = parser.add_argument_group("a table of your own, see docs/your-own-data.md")
    own.add_argument("--target", metavar="COLUMN", help="the column to predict")
    own.add_argument("--name", help="what the problem is called; default: as the file")
    own.add_argument("--drop", nargs="+", metavar="COLUMN", help="columns to leave out")
    own.add_argument("--positive", metavar="VALUE", help="which of two texts is what happens")
    own.add_argument("--time", nargs="+", metavar="COLUMN", help="what says when a row happened")
    own.add_argument("--no-time", action="store_true", help="rows are in no order of time")
    own.add_argument("--yes", action="store_true", help="what was inferred is right; do not ask")
    own.add_argument("--yes-major", action="store_true", help="other columns under an old name")
    return checked(parser, parser.parse_args())


def checked(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Ends with exit code 2 where arguments do not go together."""
    if arguments.served and any(getattr(arguments, name) for name in (*ALONE, *OF_TABLES)):
        parser.error("--served goes alone: it trains on simulated rows")
    if arguments.layout and not arguments.data:
        parser.error("--layout says whose columns a table has; name the table with --data")
    if arguments.target is not None and not arguments.data:
        parser.error("--target names a column of a table; name the table with --data")
    if arguments.target is not None and (arguments.problem or arguments.layout):
        parser.error("--target makes a problem of a table's own columns: no --problem, no --layout")
    for name in OF_TABLES:
        if getattr(arguments, name) and arguments.target is None:
            parser.error(f"--{name.replace('_', '-')} is about a table of your own: add --target")
    return arguments


def train_served(arguments: argparse.Namespace, settings: Settings) -> bool:
    """Where all that is served has a model, and features if it looks any up, this only looks at
    the models and imports nothing to train. Whether every model that was trained is champion."""
    is_promoted = True
    for name in settings.serve:
        if has_model(name, settings):
            look_at(name, arguments, settings)
        else:
            is_promoted &= to_registry(name, arguments, settings)
    return is_promoted


def has_model(name: str, settings: Settings) -> bool:
    files = settings.model_of(name), settings.bundled_model_of(name)
    is_there = any(file is not None and file.exists() for file in files)
    return is_there or open_stores(settings, name).champion.stamp() is not None


def look_at(name: str, arguments: argparse.Namespace, settings: Settings) -> None:
    """Say so where the model will be refused, and write the features of simulated rows where the
    store is new, or failed when the model was made. Nothing stops here: the service says the same,
    and serves what it can."""
    try:
        card, known = card_of(settings, name), PROBLEMS.get(name)
        if known is not None and str(card.data["source"]).startswith(SIMULATED):
            simulate_features(known, arguments, settings)
    except ServiceError as error:
        print(f"warning: {name}: {error}", file=sys.stderr)  # noqa: T201


def to_file(arguments: argparse.Namespace, settings: Settings) -> bool:
    """Whether a file was written: not where intervals do not hold, unless that is accepted."""
    from engine.learning.release import candidates, check_writable, conclude, is_accepted
    from engine.reports.terminal import console

    check_writable(arguments.out)
    wanted = problem_of(name_of(arguments, settings), arguments, settings)
    wish = order(arguments, settings)
    best, _ = candidates(wanted, wish, FIRST)
    may_be = is_accepted(best, wish)
    if may_be:
        export(settings, best.artifact, arguments.out)
        console.print(f"saved {arguments.out} ({FIRST})")
    conclude(best, is_promoted=may_be, left="nothing is written")
    return may_be


def to_registry(name: str, arguments: argparse.Namespace, settings: Settings) -> bool:
    """Register every candidate; the best is champion from now on, whatever was before, if its
    intervals hold or that is accepted. Whether it is."""
    from engine.learning.release import check_writable, release
    from engine.reports.terminal import console

    check_writable(settings.model_of(name))
    wanted = problem_of(name, arguments, settings)
    stores = open_stores(settings, name)
    with stores.training():
        wanted, is_major = in_line(wanted, stores, arguments)
        wish = order(arguments, settings, is_major=is_major)
        is_promoted = release(wanted, stores.champion, stores.artifacts, wish)
    if not arguments.data:
        simulate_features(wanted, arguments, settings)
    if arguments.target is not None and is_promoted:
        console.print(f"serve it: SERVE={name} make serve")
    return is_promoted


def order(arguments: argparse.Namespace, settings: Settings, *, is_major: bool = False) -> "Order":
    from engine.learning.release import Order

    return Order(
        data=arguments.data,
        layout=arguments.layout,
        rows=arguments.rows,
        seed=arguments.seed,
        max_bad_share=arguments.max_bad_share,
        reports=settings.data_dir / "reports",
        who=WHO,
        at=written(datetime.now(UTC)),
        is_major=is_major,
        accepts=arguments.accept,
    )


def name_of(arguments: argparse.Namespace, settings: Settings) -> str:
    """What is trained; raises InvalidSetting where a table of one's own needs another name."""
    if arguments.target is None:
        return arguments.problem or settings.serve[0]
    made = re.sub(r"[^a-z0-9]+", "_", arguments.data.stem.lower()).strip("_")
    name = arguments.name or made
    if not re.fullmatch(PROBLEM_NAME, name):
        raise InvalidSetting(f"--name: {name!r} is none; a letter, then a-z, 0-9 or _, 40 at most")
    if name in PROBLEMS:
        raise InvalidSetting(f"--name: {name} is a problem of ours; call yours --name my_{name}")
    return name


def problem_of(name: str, arguments: argparse.Namespace, settings: Settings) -> Problem:
    """A problem of ours, one that a table declared before, or one that a table declares now."""
    if arguments.target is not None:
        return from_table(name, arguments)
    known = named(name, partial(card_of, settings))
    if arguments.layout not in {None, *known.layouts}:
        there = ", ".join(known.layouts) or "none"
        raise InvalidSetting(f"--layout: {name} has no layout {arguments.layout}; it has {there}")
    if known.simulate is None and arguments.data is None:
        raise InvalidSetting(f"{name} is learned from a table: name it with --data")
    return known


def from_table(name: str, arguments: argparse.Namespace) -> Problem:
    """Raises UnusableTable with all that stands in the way, InvalidSetting if nobody agrees."""
    from engine.reports.confirm import confirm
    from engine.tables.files import read_file
    from engine.tables.infer import infer

    file = arguments.data.name
    inferred = infer(
        read_file(arguments.data),
        arguments.target,
        source=file,
        drop=arguments.drop or (),
        positive=arguments.positive,
        max_bad_share=arguments.max_bad_share,
        order=() if arguments.no_time else arguments.time,
    )
    confirm(inferred, f"{name}, as {file} has it", is_agreed=arguments.yes)
    title = f"{arguments.target} of {name}"
    declaration = own.Declaration(
        title,
        inferred.schema.columns,
        inferred.target,
        slices=inferred.slices,
        ignored=inferred.ignored,
        order=inferred.order,
    )
    return own.problem(name, declaration)


def in_line(new: Problem, stores: Stores, arguments: argparse.Namespace) -> tuple[Problem, bool]:
    """What a table declares, in line with what has its name; whether it is another contract.

    Raises ContractChanged where it is, unless that is allowed: callers would be refused.
    """
    if arguments.target is None or stores.champion.stamp() is None:
        return new, False
    card = stores.champion.load().card
    same = own.continued(new, own.problem_of(card))
    if same is None and not arguments.yes_major:
        raise ContractChanged(
            f"{new.name} {card.version} has other columns, categories or another target; take "
            f"another --name, train it as it is with --problem {new.name}, or allow a new major "
            "version with --yes-major"
        )
    return same or new, same is None


def simulate_features(wanted: Problem, arguments: argparse.Namespace, settings: Settings) -> None:
    """Where features are looked up by key and none are kept yet, those of simulated keys."""
    if wanted.lookup is None or (settings.features_url or "").startswith("memory:"):
        return
    with closing(open_features(settings)) as store:
        if not store.count(wanted.name):
            from engine.learning.release import simulated_features  # only here: it is slow

            known = simulated_features(wanted, wanted.lookup, arguments.rows, arguments.seed)
            store.put(wanted.name, known)


if __name__ == "__main__":
    sys.exit(main())
