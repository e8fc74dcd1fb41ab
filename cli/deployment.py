"""`deployment`: who answers besides the champion: look, change it, and compare."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import click

from cli.shared import Function, Parsed, group, option, problem_of, problem_option, say
from engine.assemble import open_records, open_stores
from engine.domain import history
from engine.domain.errors import ServiceError
from engine.domain.ports import Champion
from engine.domain.traffic import MODES, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.settings import load_settings
from engine.watching import comparison
from engine.watching.comparison import Comparison, Report
from engine.watching.recent import recent_records
from engine.watching.sequence import Difference
from engine.watching.sides import Side

_WHO = "deployment.py"
"""The name in existing histories; they were written before there was one command line."""
_EXAMPLES = """Examples:
  predictive deployment show
  predictive deployment set v1.1.0-rc.1:test:0.2               a fifth of the units
  predictive deployment set v1.1.0-rc.1:canary:0.01 v1.1.0-rc.2:shadow --why "try both"
  predictive deployment clear                                  the champion alone
  predictive deployment report                                 and a page with a picture
"""


def _variant_request(text: str) -> VariantRequest:
    """`v1.1.0-rc.1:canary:0.1`, or `v1.1.0-rc.1:shadow`; raises ValueError for anything else."""
    try:
        version, mode, *share = text.split(":")
        return VariantRequest(Version.parse(version), mode, float(*share))
    except (ServiceError, TypeError, ValueError) as error:
        raise ValueError(
            f"{text!r} is not of the form VERSION:MODE[:SHARE]; MODE is one of {', '.join(MODES)}"
        ) from error


_VARIANT = Parsed("variant", _variant_request)


@group(examples=_EXAMPLES)
def deployment() -> None:
    """Who answers besides the champion: show it, change it, compare the variants."""


def _reasons(function: Function) -> Function:
    """Why the deployment is changed, and what it was when that was decided."""
    why = option("--why", default="by hand", show_default=True, help="The reason, for the history.")
    revision = option(
        "--revision", type=int, help="Change nothing unless the deployment is at this revision."
    )
    return problem_option(why(revision(function)))


@deployment.command(examples="Example:\n  predictive deployment show\n")
@problem_option
def show(problem: str | None) -> None:
    """Who answers, since when and why."""
    settings = load_settings()
    name = problem_of(problem, settings).name
    _show_deployment(open_stores(settings, name).champion)


@deployment.command("set", examples="Example:\n  predictive deployment set v1.1.0-rc.1:test:0.2\n")
@click.argument(
    "variants", nargs=-1, required=True, type=_VARIANT, metavar="VERSION:MODE[:SHARE] ..."
)
@_reasons
def set_(
    problem: str | None, variants: Sequence[VariantRequest], why: str, *, revision: int | None
) -> None:
    """Have these variants answer besides the champion, and no others."""
    _change(problem, variants, why, revision=revision)


@deployment.command(examples="Example:\n  predictive deployment clear --why 'the test is over'\n")
@_reasons
def clear(problem: str | None, why: str, revision: int | None) -> None:
    """Have the champion answer alone."""
    _change(problem, (), why, revision=revision)


def _change(
    problem: str | None, requests: Sequence[VariantRequest], why: str, *, revision: int | None
) -> None:
    settings = load_settings()
    name = problem_of(problem, settings).name
    stores = open_stores(settings, name)
    for one in requests:
        stores.artifacts.load(name, one.version)
    known = stores.artifacts.versions(name)
    set_variants(stores.champion, known, requests, who=_WHO, why=why, revision=revision)
    _show_deployment(stores.champion)


def _show_deployment(champion: Champion) -> None:

    past = champion.history()
    made, traffic = history.arranged(past), history.traffic(past)
    if made is None:
        say("no champion is registered yet; train one with train_model.py")
        return
    rest = 1 - sum(variant.share for variant in traffic.variants)
    say(f"revision {len(past)}, {made.action} at {made.at} by {made.who}: {made.why}")
    say(f"  {made.version}  champion  {rest:.2%}")
    for variant in traffic.variants:
        say(f"  {variant.version}  {variant.mode}  {variant.share:.2%}")


@deployment.command(examples="Example:\n  predictive deployment report --out page.html\n")
@problem_option
@option("--out", type=click.Path(path_type=Path), help="The page; default: in DATA_DIR/reports.")
def report(problem: str | None, out: Path | None) -> None:
    """How the variants do beside the champion."""
    from engine.reports.comparisons import draw_comparisons, write_page

    settings = load_settings()
    asked = problem_of(problem, settings)
    past = open_stores(settings, asked.name).champion.history()
    made, traffic = history.arranged(past), history.traffic(past)
    if made is None or not traffic.variants:
        say("the champion answers alone; there is nothing to compare")
        return
    with closing(open_records(settings)) as records:
        answered = recent_records(records, asked.name, since=made.at)
    found = comparison.report(
        asked.target.kind, traffic, made.version, since=made.at, joined=answered
    )
    for one in found.comparisons:
        say(one.sentence)
    table = _rows_of(found)
    width = 2 + max(len(cell) for row in table for cell in row[1:])
    for row in table:
        say("".join(f"{cell:>{width}}" if at else f"{cell:28}" for at, cell in enumerate(row)))
    page = out or settings.reports / f"{asked.name}-deployment.html"
    facts = " ".join(one.sentence for one in found.comparisons)
    title = f"{asked.name}: variants beside {found.champion} since {found.since}"
    write_page(page, title, facts, table=table, drawn=draw_comparisons(found.comparisons))
    say(f"report: {page}")


def _rows_of(found: Report) -> list[list[str]]:
    """A column for each side of each comparison."""
    sides = [(side, one) for one in found.comparisons for side in (one.champion, one.variant)]
    heads, judged_by = [side.version for side, _ in sides], found.comparisons[0].judged_by
    figures: dict[str, Callable[[Side], str]] = {
        "predictions": lambda side: f"{side.predictions:,}",
        "units": lambda side: f"{side.units:,}",
        "failed": lambda side: f"{side.errors:,}",
        "outcomes known": lambda side: f"{side.outcomes:,}",
        "median latency, µs": lambda side: _number(side.latency_us, ".0f"),
        f"mean {judged_by}": lambda side: _number(side.loss, ".4g"),
        "coverage less claimed": lambda side: _bounds(side.coverage_gap),
    }
    rows = [[name, *(of(side) for side, _ in sides)] for name, of in figures.items()]
    rows += [
        [f"{judged_by} lower by", *_pairs(found, lambda one: _bounds(one.improvement))],
        ["times the latency", *_pairs(found, lambda one: _bounds(one.latency, "{:.2f}"))],
        ["agreement", *_pairs(found, _agreement)],
    ]
    return [["", *heads], *rows]


def _pairs(found: Report, of: Callable[[Comparison], str]) -> list[str]:
    return [cell for one in found.comparisons for cell in ("", of(one))]


def _agreement(found: Comparison) -> str:
    return _bounds(None if found.agreement is None else found.agreement.share)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _bounds(found: Difference | None, form: str = "{:+.1%}") -> str:
    """The estimate, and where the truth lies."""
    if found is None:
        return "-"
    return f"{form} ({form} to {form})".format(found.estimate, found.low, found.high)
