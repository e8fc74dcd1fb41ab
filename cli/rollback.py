"""`rollback`: an earlier champion again, at once; nothing is trained."""

import click

from cli.shared import command, problem_of, problem_option, say
from engine.assemble import Stores, open_stores
from engine.domain import history
from engine.domain.errors import UnknownVersion
from engine.domain.version import Version
from engine.settings import load_settings

_EXAMPLES = """Examples:
  predictive rollback            to the champion before
  predictive rollback v1.0.0
"""


@command(examples=_EXAMPLES)
@problem_option
@click.argument("version", required=False)
def rollback(problem: str | None, version: str | None) -> None:
    """Make an earlier champion the champion again, by default the one before."""
    settings = load_settings()
    name = problem_of(problem, settings).name
    roll_back(open_stores(settings, name), version or "", "retrain.py")


def roll_back(stores: Stores, wanted: str, who: str) -> None:
    """Move the pointer, and say so; raises UnknownVersion for a version that was never champion."""
    past = stores.champion.history()
    version = Version.parse(wanted) if wanted else history.before(past)
    if version not in history.champions(past):
        known = ", ".join(map(str, history.champions(past))) or "none"
        raise UnknownVersion(f"{version} was never champion; the champions were {known}")
    why = f"back from {history.champion(past)}"
    follows = stores.champion.move(
        history.Action.ROLLED_BACK, version, who=who, why=why, after=len(past)
    )
    note = "" if follows else f"; {stores.champion.place} could not be written"
    say(f"champion: {version}, {why}{note}")
