"""What happened to a problem's champion: an append-only list of events, and what it tells.

The last event names the champion. Everything else about the past is read from the list: since when,
what was refused, how often challengers have tried.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, pairwise

from engine.domain.errors import UnknownVersion
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import FIRST, Version


class Action(StrEnum):
    """What an event did. Histories keep it by its text; they may hold others, of later versions."""

    ADOPTED = "adopted"
    """Took over a model that was found as a file."""
    TRAINED = "trained"
    PROMOTED = "promoted"
    KEPT = "kept"
    """Judged a challenger and left the champion where it was."""
    LOADED = "loaded"
    """Made a registered version champion over HTTP."""
    ROLLED_BACK = "rolled back"
    ARRANGED = "arranged"
    """Set the traffic by hand."""
    STANDS_BY = "stands by"
    """Froze a copy of the champion with newer calibration."""
    ROLLOUT_STOPPED = "rollout stopped"


@dataclass(frozen=True)
class Event:
    """One line: from `at` (UTC, ISO 8601) on `version` is champion, with this traffic beside it;
    numbers count from 1."""

    number: int
    at: str
    action: str
    version: Version
    challenger: Version | None
    who: str
    why: str
    traffic: Traffic = ALONE


History = Sequence[Event]


def champion(history: History) -> Version | None:
    return history[-1].version if history else None


def since(history: History) -> str | None:
    """From when the champion has been champion without a break."""
    start = None
    for event in history:
        if start is None or event.version != start.version:
            start = event
    return None if start is None else start.at


def traffic(history: History) -> Traffic:
    return history[-1].traffic if history else ALONE


def arranged(history: History) -> Event | None:
    """The event that made the traffic what it is, under this champion; verdicts only repeat it."""
    made = None
    for event in history:
        if event.action == Action.ARRANGED or made is None or _state(event) != _state(made):
            made = event
    return made


def _state(event: Event) -> tuple[Version, Traffic]:
    return event.version, event.traffic


def attempts(history: History) -> int:
    """How many challengers were judged against the champion's trees, whenever they reigned; one
    that is rolled out step by step counts once.

    Coming back by rollback, or being recalibrated, does not make a champion's past unhappen.
    """
    now, judged = champion(history), set()
    for before, event in pairwise(history):
        if now is None or event.challenger is None:
            continue
        if before.version.line == now.line != event.challenger.line:
            judged.add(event.challenger)
    return len(judged)


def standing_by(history: History) -> Event | None:
    """The event that froze the newest copy of the present champion, since it is champion."""
    for event in reversed(history):
        if event.version != champion(history):
            return None
        if event.action == Action.STANDS_BY:
            return event
    return None


def copies(history: History) -> int:
    """How many copies stood by this champion, whenever it reigned."""
    now = champion(history)
    return sum(event.action == Action.STANDS_BY and event.version == now for event in history)


def champions(history: History) -> list[Version]:
    """All versions that were ever champion, in semantic order."""
    return sorted({event.version for event in history})


def next_minor(history: History, taken: Sequence[Version]) -> Version:
    """The release a retrained model gets: v1.0.0, or the minor after the highest version so far.

    A number that a crash left on a model without an event is not given again.
    """
    releases = _releases_of(history, taken)
    return releases[-1].next_minor() if releases else FIRST


def next_major(history: History, taken: Sequence[Version]) -> Version:
    releases = _releases_of(history, taken)
    return releases[-1].next_major() if releases else FIRST


def next_patch(history: History, taken: Sequence[Version]) -> Version:
    """The release the champion gets when it is only recalibrated: one above its own line's last.

    Raises UnknownVersion when there is no champion.
    """
    now = champion(history)
    if now is None:
        raise UnknownVersion("there is no champion to recalibrate")
    return [one for one in _releases_of(history, taken) if one.line == now.line][-1].next_patch()


def candidates_of(release: Version, taken: Sequence[Version]) -> Iterator[Version]:
    """The names of its candidates that are not taken yet, in order."""
    return (name for name in map(release.candidate, count(1)) if name not in taken)


def _releases_of(history: History, taken: Sequence[Version]) -> list[Version]:
    return sorted({*champions(history), *(one for one in taken if not one.is_candidate)})


def servable(history: History, versions: Sequence[Version]) -> list[Version]:
    """Candidates, and releases that were champion; all versions while the history is empty."""
    earned = set(champions(history))
    return [one for one in versions if one.is_candidate or one in earned or not history]


def before(history: History) -> Version:
    """The champion before the present one; raises UnknownVersion when there was none."""
    for event in reversed(history):
        if event.version != champion(history):
            return event.version
    raise UnknownVersion("there is no earlier champion to go back to")
