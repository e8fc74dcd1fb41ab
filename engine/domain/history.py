"""What happened to a problem's champion: an append-only list of events, and what it tells.

The last event names the champion. Everything else about the past is read from the list: who was
champion when, what was refused, how often challengers have tried since the last change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.domain.errors import UnknownVersion
from engine.domain.version import FIRST, Version

KEPT = "kept"
"""The action of an event that judged a challenger and left the champion where it was."""


@dataclass(frozen=True)
class Event:
    """One line: `version` is champion from `at` (UTC, ISO 8601) on; numbers count from 1."""

    number: int
    at: str
    action: str
    version: Version
    challenger: Version | None
    who: str
    why: str


History = Sequence[Event]


def champion(history: History) -> Version | None:
    return history[-1].version if history else None


def champion_at(history: History, moment: str) -> Version | None:
    """Who was champion at a moment; None before the first event."""
    before = [event for event in history if event.at <= moment]
    return champion(before)


def since(history: History) -> str | None:
    """From when the champion has been champion without a break."""
    start = None
    for event in history:
        if start is None or event.version != start.version:
            start = event
    return None if start is None else start.at


def attempts(history: History) -> int:
    """How many challengers were judged against the champion's trees, whenever they reigned.

    Coming back by rollback, or being recalibrated, does not make a champion's past unhappen.
    """
    now, before, count = champion(history), None, 0
    for event in history:
        if before is not None and now is not None and event.challenger is not None:
            count += before.line == now.line != event.challenger.line
        before = event.version
    return count


def champions(history: History) -> list[Version]:
    """All that were ever champion, in semantic order."""
    return sorted({event.version for event in history})


def next_minor(history: History) -> Version:
    """The release a retrained model gets: v1.0.0, or one above all that ever were champion."""
    return champions(history)[-1].next_minor() if history else FIRST


def next_major(history: History) -> Version:
    return champions(history)[-1].next_major() if history else FIRST


def next_patch(history: History) -> Version:
    """The release the champion gets when it is only recalibrated: one above its own line's last.

    Raises UnknownVersion when there is no champion.
    """
    now = champion(history)
    if now is None:
        raise UnknownVersion("there is no champion to recalibrate")
    line = [version for version in champions(history) if version.line == now.line]
    return line[-1].next_patch()


def before(history: History) -> Version:
    """The champion before the present one; raises UnknownVersion when there was none."""
    for event in reversed(history):
        if event.version != champion(history):
            return event.version
    raise UnknownVersion("there is no earlier champion to go back to")
