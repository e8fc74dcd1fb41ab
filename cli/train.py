"""`train`: what can be asked of a training run, and which problem it is about."""

import re
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import (
    EFFORT,
    ROWS,
    SEED,
    SHARE,
    Command,
    Function,
    command,
    flag,
    option,
    options,
    problem_of,
    problem_option,
)
from engine.assemble import Stores, card_of, open_features
from engine.domain.effort import FAST, Effort
from engine.domain.errors import ContractChanged, InvalidSetting, ServiceError
from engine.domain.problem import SIMULATED, Columns, Problem
from engine.domain.version import Version
from engine.settings import PROBLEM_NAME, Settings, load_settings
from problems import PROBLEMS, declared

if TYPE_CHECKING:
    import pandas as pd

_SIMULATED_ROWS = 20_000
_MAX_BAD_SHARE = 0.05
_EXAMPLES = """Examples:
  python train_model.py                                    the simulated market
  python train_model.py --problem churn
  python train_model.py --data sales.csv                   a table in the problem's columns
  python train_model.py --data sales.csv --out /tmp/sales.joblib
  python train_model.py --data my.csv --target price       a table of your own, as it is
  python train_model.py --problem my --data newer.csv      the same problem, trained anew
  python train_model.py --data my.csv --target price --time sold_on      the newest rows judge
  python train_model.py --served                           what SERVE names and has no model yet

Exit code: 0 the new model is champion, 10 it is not, because its intervals do not hold,
1 it failed, 2 wrong settings or arguments
"""


@dataclass(frozen=True)
class TrainingOrder:
    """What one run is asked to do, as its options say it."""

    problem: str | None
    data: Path | None
    layout: str | None
    rows: int
    seed: int
    effort: Effort
    max_bad_share: float
    out: Path | None
    accept: bool
    served: bool
    target: str | None
    name: str | None
    drop: tuple[str, ...]
    positive: str | None
    time: tuple[str, ...]
    no_time: bool
    yes: bool
    yes_major: bool

    def rows_of(self, problem: Problem) -> "tuple[Columns | pd.DataFrame, str]":
        """The columns of the table, or of simulated rows, and where they come from."""
        if self.data is not None:
            from engine.tables.table import gather

            return gather(problem, [self.data], self.layout), self.data.name
        assert problem.simulate is not None  # noqa: S101 - without one there is a table
        source = f"{SIMULATED}{self.rows} rows, seed {self.seed}"
        return problem.simulate(self.rows, self.seed), source


def _of_table(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """An option that goes with --target alone."""
    because = "it applies only to a table of your own"
    return option(*names, needs=("target",), because=because, **attributes)


_OPTIONS = options(
    problem_option,
    option(
        "--data",
        type=click.Path(path_type=Path),
        help="A CSV or Parquet table; default: simulated.",
    ),
    option(
        "--layout",
        needs=("data",),
        because="it names the layout of the table",
        help="Layout of the table's columns; default: the problem's own.",
    ),
    option(
        "--rows", type=ROWS, default=_SIMULATED_ROWS, show_default=True, help="Rows to simulate."
    ),
    option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random."),
    option(
        "--effort",
        type=EFFORT,
        default=FAST.value,
        show_default=True,
        help="How large the model may be: few trees that answer fast, or three times as many.",
    ),
    option(
        "--max-bad-share",
        type=SHARE,
        default=_MAX_BAD_SHARE,
        show_default=True,
        help="Stop if a larger share of the rows breaks the schema.",
    ),
    option(
        "--out",
        type=click.Path(path_type=Path),
        help="Write the best model here and register nothing; default: MODEL_PATH.",
    ),
    flag("--accept", help="Promote it even if its intervals do not hold."),
    flag(
        "--served",
        excludes=("problem", "data", "layout", "out", "target"),
        because="it trains on simulated rows",
        help="Train only the served problems that have no model.",
    ),
    option(
        "--target",
        metavar="COLUMN",
        needs=("data",),
        excludes=("problem", "layout"),
        because="it declares a new problem from the table's columns",
        help="The column to predict, of a table of your own: see docs/your-own-data.md.",
    ),
    _of_table("--name", help="Name of the problem; default: the name of the file."),
    _of_table("--drop", multiple=True, metavar="COLUMN ...", help="Columns to leave out."),
    _of_table(
        "--positive", metavar="VALUE", help="Which of the two texts means that the event happens."
    ),
    _of_table(
        "--time",
        multiple=True,
        metavar="COLUMN ...",
        help="Columns that say when a row happened.",
    ),
    _of_table("--no-time", is_flag=True, help="The rows have no order in time."),
    _of_table("--yes", is_flag=True, help="Accept what was inferred without asking."),
    _of_table("--yes-major", is_flag=True, help="Allow other columns under an existing name."),
)


def training_command(story: Callable[[TrainingOrder, Settings], int]) -> Command:
    """The command that tells `story`, whose docstring is its help."""

    @command("train", help=story.__doc__, examples=_EXAMPLES)
    @_OPTIONS
    def train(**given: Any) -> int:
        return story(TrainingOrder(**given), load_settings())

    return train


def name_of(order: TrainingOrder, settings: Settings) -> str:
    """What is trained; raises InvalidSetting where a table of one's own needs another name."""
    if order.target is None or order.data is None:
        return order.problem or settings.serve[0]
    made = re.sub(r"[^a-z0-9]+", "_", order.data.stem.lower()).strip("_")
    name = order.name or made
    if not re.fullmatch(PROBLEM_NAME, name):
        raise InvalidSetting(
            f"--name: {name!r} is not a name; write a letter, then a-z, 0-9 or _, 40 at most"
        )
    if name in PROBLEMS:
        raise InvalidSetting(f"--name: {name} is a built-in problem; pass --name my_{name}")
    return name


def asked_problem(name: str, order: TrainingOrder, settings: Settings) -> Problem:
    """A problem of ours, one that a table declared before, or one that a table declares now."""
    if order.target is not None and order.data is not None:
        return _from_table(name, order.data, order.target, order=order)
    known = problem_of(name, settings)
    if order.layout not in {None, *known.layouts}:
        there = ", ".join(known.layouts) or "none"
        raise InvalidSetting(f"--layout: {name} has no layout {order.layout}; it has {there}")
    if known.simulate is None and order.data is None:
        raise InvalidSetting(f"{name} needs a table to learn from: pass --data")
    return known


def _from_table(name: str, file: Path, target: str, *, order: TrainingOrder) -> Problem:
    """Raises UnusableTable naming everything that prevents training, InvalidSetting if the user
    does not accept what was inferred."""
    from engine.reports.inferred import ask, show_inferred
    from engine.tables.files import read_file
    from engine.tables.infer import infer

    inferred = infer(
        read_file(file),
        target,
        source=file.name,
        drop=order.drop,
        positive=order.positive,
        max_bad_share=order.max_bad_share,
        order=() if order.no_time else order.time or None,
    )
    show_inferred(inferred, f"{name}, as {file.name} has it")
    if not order.yes:
        if not sys.stdin.isatty():
            raise InvalidSetting("not a terminal: pass --yes to accept what was inferred")
        if ask("Train on this? [y/N] ") not in {"y", "yes"}:
            raise InvalidSetting(
                "nothing was trained; change the table, or leave columns out with --drop"
            )
    declaration = declared.Declaration(
        f"{target} of {name}",
        inferred.schema.columns,
        inferred.target,
        slices=inferred.slices,
        ignored=inferred.ignored,
        order=inferred.order,
    )
    return declared.problem(name, declaration)


def next_in_line(
    new: Problem, stores: Stores, order: TrainingOrder, *, who: str
) -> tuple[Problem, Version, int]:
    """The problem in line with what has its name, the version of its next model, and the length of
    the history when this was decided."""
    from engine.learning.release import next_release

    problem, is_major = _in_line(new, stores, order)
    stores.champion.adopt(who)
    past = stores.champion.history()
    taken = stores.artifacts.versions(new.name)
    return problem, next_release(past, taken, is_major=is_major), len(past)


def _in_line(new: Problem, stores: Stores, order: TrainingOrder) -> tuple[Problem, bool]:
    """The problem that a table declares, continued from the existing problem of its name, and
    whether the contract changed. Raises ContractChanged where it did, unless that is allowed:
    requests of present callers would be refused.
    """
    if order.target is None or stores.champion.revision() is None:
        return new, False
    card = stores.champion.load().card
    same = declared.continued(new, declared.problem_of(card))
    if same is None and not order.yes_major:
        raise ContractChanged(
            f"{new.name} {card.version} has other columns, categories or another target; take "
            f"another --name, train it as it is with --problem {new.name}, or allow a new major "
            "version with --yes-major"
        )
    return same or new, same is None


def look_at(name: str, order: TrainingOrder, settings: Settings) -> None:
    """Warn if the service will refuse the model, and write the features of simulated rows if the
    store is new, or failed when the model was trained. A failure here stops nothing: the service
    reports the same, and serves what it can."""
    try:
        card, known = card_of(settings, name), PROBLEMS.get(name)
        if known is not None and str(card.data["source"]).startswith(SIMULATED):
            keep_simulated_features(known, order, settings)
    except ServiceError as error:
        click.echo(f"warning: {name}: {error}", err=True)


def keep_simulated_features(problem: Problem, order: TrainingOrder, settings: Settings) -> None:
    """Where features are looked up by key and none are kept yet, keep those of simulated keys."""
    if problem.lookup is None or (settings.features_url or "").startswith("memory:"):
        return
    with closing(open_features(settings)) as store:
        if not store.count(problem.name):
            from engine.tables.feature_table import simulated_features  # only here: it is slow

            known = simulated_features(problem, problem.lookup, order.rows, seed=order.seed)
            store.put(problem.name, known)
