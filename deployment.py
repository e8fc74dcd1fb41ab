"""Who answers besides the champion: show it, set it, and report how the variants do."""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.arguments import add_problem, exit_code, parser_of
from engine.assemble import Stores, card_of, open_records, open_stores
from engine.domain import history
from engine.domain.arrange import arrange
from engine.domain.errors import ServiceError
from engine.domain.problem import Problem
from engine.domain.traffic import MODES, Wish
from engine.domain.version import Version
from engine.settings import Settings, load_settings
from engine.watching.comparison import Comparison, Report
from engine.watching.comparison import report as compared
from engine.watching.seen import seen
from engine.watching.sequence import Difference
from engine.watching.sides import Side
from problems import named

WHO = "deployment.py"
EXAMPLES = """examples:
  python deployment.py show
  python deployment.py set v1.1.0-rc.1:test:0.2               a fifth of the units
  python deployment.py set v1.1.0-rc.1:canary:0.01 v1.1.0-rc.2:shadow --why "try both"
  python deployment.py clear                                  the champion alone
  python deployment.py report                                 and a page with a picture
"""


def main() -> int:
    arguments = parse()
    return exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    problem = named(arguments.problem or settings.serve[0], partial(card_of, settings))
    at = Place(settings, problem, open_stores(settings, problem.name))
    COMMANDS[arguments.command](arguments, at)
    return 0


@dataclass(frozen=True)
class Place:
    """Where a command acts: one problem and its stores."""

    settings: Settings
    problem: Problem
    stores: Stores


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True)
    showing = commands.add_parser("show", help="who answers, since when and why")
    setting = commands.add_parser("set", help="these variants and no others")
    setting.add_argument(
        "variants", nargs="+", type=wish, metavar="VERSION:MODE[:SHARE]", help=", ".join(MODES)
    )
    clearing = commands.add_parser("clear", help="the champion alone")
    for command in (setting, clearing):
        command.add_argument("--why", default="by hand", help="the reason, for the history")
        command.add_argument("--revision", type=int, help="refuse unless this is the revision")
    reporting = commands.add_parser("report", help="how the variants do beside the champion")
    reporting.add_argument("--out", type=Path, help="the page; default: in DATA_DIR/reports")
    add_problem(parser, showing, setting, clearing, reporting)
    return parser.parse_args()


def wish(text: str) -> Wish:
    """`v1.1.0-rc.1:canary:0.1`, or `v1.1.0-rc.1:shadow`."""
    try:
        version, mode, *share = text.split(":")
        return Wish(Version.parse(version), mode, float(*share))
    except (ServiceError, TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no VERSION:MODE[:SHARE]") from error


def show(arguments: argparse.Namespace, at: Place) -> None:
    past = at.stores.champion.history()
    made, traffic = history.arranged(past), history.traffic(past)
    if made is None:
        print("no champion is registered yet")
        return
    rest = 1 - sum(variant.share for variant in traffic.variants)
    print(f"revision {len(past)}, {made.action} at {made.at} by {made.who}: {made.why}")
    print(f"  {made.version}  champion  {rest:.2%}")
    for variant in traffic.variants:
        print(f"  {variant.version}  {variant.mode}  {variant.share:.2%}")


def change(arguments: argparse.Namespace, at: Place) -> None:
    wishes: list[Wish] = getattr(arguments, "variants", [])
    for one in wishes:
        at.stores.artifacts.load(at.problem.name, one.version)
    known = at.stores.artifacts.versions(at.problem.name)
    arrange(
        at.stores.champion,
        known,
        wishes,
        who=WHO,
        why=arguments.why,
        revision=arguments.revision,
    )
    show(arguments, at)


def report(arguments: argparse.Namespace, at: Place) -> None:
    from engine.reports.comparisons import draw_comparisons, write_page  # only here: it is slow

    name, past = at.problem.name, at.stores.champion.history()
    made, traffic = history.arranged(past), history.traffic(past)
    if made is None or not traffic.variants:
        print("the champion answers alone; there is nothing to compare")
        return
    with closing(open_records(at.settings)) as records:
        answered = seen(records, name, since=made.at)
    found = compared(at.problem.target.kind, traffic, made.version, made.at, answered)
    for one in found.comparisons:
        print(one.sentence)
    table = rows_of(found)
    width = 2 + max(len(cell) for row in table for cell in row[1:])
    for row in table:
        print("".join(f"{cell:>{width}}" if at else f"{cell:28}" for at, cell in enumerate(row)))
    page = arguments.out or at.settings.data_dir / "reports" / f"{name}-deployment.html"
    facts = " ".join(one.sentence for one in found.comparisons)
    title = f"{name}: variants beside {found.champion} since {found.since}"
    write_page(page, title, facts, table=table, drawn=draw_comparisons(found.comparisons))
    print(f"report: {page}")


def rows_of(found: Report) -> list[list[str]]:
    """A column for each side of each comparison."""
    sides = [(side, one) for one in found.comparisons for side in (one.champion, one.variant)]
    heads, judged_by = [side.version for side, _ in sides], found.comparisons[0].judged_by
    figures: dict[str, Callable[[Side], str]] = {
        "predictions": lambda side: f"{side.predictions:,}",
        "units": lambda side: f"{side.units:,}",
        "failed": lambda side: f"{side.errors:,}",
        "outcomes known": lambda side: f"{side.outcomes:,}",
        "median latency, µs": lambda side: number(side.latency_us, ".0f"),
        f"mean {judged_by}": lambda side: number(side.loss, ".4g"),
        "coverage less claimed": lambda side: bounds(side.coverage_gap),
    }
    rows = [[name, *(of(side) for side, _ in sides)] for name, of in figures.items()]
    rows += [
        [f"{judged_by} lower by", *pairs(found, lambda one: bounds(one.improvement))],
        ["times the latency", *pairs(found, lambda one: bounds(one.latency, "{:.2f}"))],
        ["agreement", *pairs(found, agreement)],
    ]
    return [["", *heads], *rows]


def pairs(found: Report, of: Callable[[Comparison], str]) -> list[str]:
    return [cell for one in found.comparisons for cell in ("", of(one))]


def agreement(found: Comparison) -> str:
    return bounds(None if found.agreement is None else found.agreement.share)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def bounds(found: Difference | None, form: str = "{:+.1%}") -> str:
    """The estimate, and where the truth lies."""
    if found is None:
        return "-"
    return f"{form} ({form} to {form})".format(found.estimate, found.low, found.high)


COMMANDS: dict[str, Callable[[argparse.Namespace, Place], None]] = {
    "show": show,
    "set": change,
    "clear": change,
    "report": report,
}

if __name__ == "__main__":
    sys.exit(main())
