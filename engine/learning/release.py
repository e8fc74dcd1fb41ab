"""Register what was trained, and make the best of it champion where it may be."""

from collections.abc import Sequence

from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.history import Action, History, candidates_of, next_major, next_minor
from engine.domain.ports import Artifacts, Champion
from engine.domain.version import Version


def next_release(past: History, taken: Sequence[Version], *, is_major: bool) -> Version:
    """The number of the next model that is trained from nothing."""
    return (next_major if is_major else next_minor)(past, taken)


def register(
    trained: Sequence[Artifact], artifacts: Artifacts, version: Version, *, is_champion: bool
) -> Artifact:
    """Save every candidate, the best first, and give back the best under the name it has from now
    on: the release if it is to be champion, else that of a release candidate as the others'."""
    best, *others = trained
    taken = artifacts.versions(best.card.problem)
    names = candidates_of(version.next_minor() if is_champion else version, taken)
    first = best if is_champion else best.named(next(names))
    for artifact in (first, *(other.named(next(names)) for other in others)):
        artifacts.save(artifact)
    return first


def promote_trained(champion: Champion, best: Artifact, *, who: str, after: int) -> None:
    """Move the pointer to a model that was trained from nothing."""
    shortfall = best.card.shortfall
    doubt = f"accepted although {shortfall}" if shortfall else ""
    why = "; ".join(filter(None, (f"trained on {best.card.data['source']}", doubt)))
    champion.move(Action.TRAINED, Version.parse(best.card.version), who=who, why=why, after=after)


def turn_away(champion: Champion, challenger: Artifact, *, who: str, why: str, after: int) -> None:
    """Append an event which says that the champion was kept, and why."""
    now = history.champion(champion.history())
    assert now is not None  # noqa: S101
    candidate = Version.parse(challenger.card.version)
    champion.move(Action.KEPT, now, who=who, why=why, after=after, challenger=candidate)


def promote_challenger(
    champion: Champion, challenger: Artifact, release: Version, *, who: str, why: str, after: int
) -> bool:
    """Move the pointer to a release that is saved; whether the champion's file follows."""
    candidate = Version.parse(challenger.card.version)
    return champion.move(
        Action.PROMOTED, release, who=who, why=why, after=after, challenger=candidate
    )
