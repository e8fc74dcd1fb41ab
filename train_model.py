"""Train every candidate on a table, show how they compare, keep the best as the champion."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from engine.arguments import rows, seed, share
from engine.assemble import export, open_stores
from engine.domain.artifact import Artifact
from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.history import next_minor
from engine.domain.times import written
from engine.domain.version import FIRST, Version
from engine.learning.data import Table
from engine.learning.report import (
    check_writable,
    checked,
    console,
    load,
    progress,
    show_candidates,
)
from engine.learning.split import split
from engine.learning.train import Origin, train_all
from engine.settings import Settings, load_settings
from problems import DEFAULT

ROWS = 20_000
MAX_BAD_SHARE = 0.05
PROBLEM = DEFAULT
WHO = "train_model.py"


def main() -> int:
    arguments = parse()
    try:
        settings = load_settings()
        if arguments.out:
            to_file(arguments, settings)
        else:
            to_registry(arguments, settings)
    except (ServiceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, InvalidSetting) else 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was changed", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python train_model.py --data sales.csv --out /tmp/sales.joblib",
    )
    parser.add_argument("--data", type=Path, help="a CSV or Parquet table; default: simulated")
    parser.add_argument(
        "--layout",
        choices=sorted(PROBLEM.layouts),
        help="whose columns the table has; default: ours",
    )
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
    arguments = parser.parse_args()
    if arguments.layout and not arguments.data:
        parser.error("--layout says whose columns a table has; name the table with --data")
    return arguments


def to_file(arguments: argparse.Namespace, settings: Settings) -> None:
    check_writable(arguments.out)
    best, *_ = train(arguments, settings, FIRST)
    export(settings, best, arguments.out)
    console.print(f"saved {arguments.out} ({best.card.version})")


def to_registry(arguments: argparse.Namespace, settings: Settings) -> None:
    """Register every candidate; the best is champion from now on, whatever was before."""
    check_writable(settings.model_path)
    stores = open_stores(settings, PROBLEM.name)
    with stores.training():
        stores.champion.adopt(WHO)
        past = stores.champion.history()
        taken = stores.artifacts.versions(PROBLEM.name)
        best, *others = train(arguments, settings, next_minor(past, taken))
        version = Version.parse(best.card.version)
        stores.artifacts.save(best)
        for number, other in enumerate(others, start=1):
            stores.artifacts.save(other.named(version.next_minor().candidate(number)))
        why = f"trained on {best.card.data['source']}"
        stores.champion.move("trained", version, who=WHO, why=why, after=len(past))
    console.print(f"registered {', '.join(map(str, stores.artifacts.versions(PROBLEM.name)))}")
    console.print(f"saved {stores.champion.place} ({version})")


def train(arguments: argparse.Namespace, settings: Settings, version: Version) -> list[Artifact]:
    """The candidates, best first, all under one version for now."""
    table = read(arguments, settings.data_dir / "reports")
    origin = Origin(version, now(), arguments.seed)
    parts = split(table, arguments.seed)
    artifacts = train_all(PROBLEM, table, parts, origin=origin, progress=progress)
    show_candidates(PROBLEM, artifacts)
    return artifacts


def read(arguments: argparse.Namespace, reports: Path) -> Table:
    rules = {"reports": reports, "max_bad_share": arguments.max_bad_share}
    if arguments.data is not None:
        return load(PROBLEM, [arguments.data], layout=arguments.layout, **rules)
    source = f"simulated market, {arguments.rows} rows, seed {arguments.seed}"
    return checked(PROBLEM, PROBLEM.simulate(arguments.rows, arguments.seed), source, **rules)


def now() -> str:
    return written(datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main())
