"""Change who answers besides the champion: check what is wished for, then append the event."""

from collections.abc import Iterator, Sequence

from engine.domain import history
from engine.domain.errors import InvalidTraffic, ModelNotReady, Outpaced, UnknownVersion
from engine.domain.history import ARRANGED, History
from engine.domain.ports import Champion
from engine.domain.traffic import CANARY, MODES, SHADOW, SLOTS, Traffic, Wish
from engine.domain.version import Version

MOST_VARIANTS = 4


def arrange(
    champion: Champion,
    known: Sequence[Version],
    wishes: Sequence[Wish],
    *,
    who: str,
    why: str,
    revision: int | None = None,
    action: str = ARRANGED,
    challenger: Version | None = None,
) -> Traffic:
    """Give the champion these variants and no others; `known` are the registered versions.

    Raises UnknownVersion, InvalidTraffic naming the broken rule, ModelNotReady without a champion,
    and Outpaced when the history is not at `revision`, or grows meanwhile.
    """
    past = champion.history()
    if revision not in {None, len(past)}:
        raise Outpaced(f"the deployment is at revision {len(past)}, not {revision}; look again")
    now = history.champion(past)
    if now is None:
        raise ModelNotReady("no champion is registered; train_model.py or retrain.py does that")
    traffic = traffic_for(past, known, wishes)
    champion.move(
        action, now, who=who, why=why, after=len(past), challenger=challenger, traffic=traffic
    )
    return traffic


def traffic_for(past: History, known: Sequence[Version], wishes: Sequence[Wish]) -> Traffic:
    """The traffic that grants the wishes; raises UnknownVersion or InvalidTraffic."""
    servable = history.servable(past, known)
    for wish in wishes:
        if wish.version not in servable:
            raise UnknownVersion(f"there is no version {wish.version}")
    for broken in broken_rules(history.champion(past), wishes):
        raise InvalidTraffic(broken)
    return history.traffic(past).changed(wishes, salt=f"experiment {len(past) + 1}")


def broken_rules(champion: Version | None, wishes: Sequence[Wish]) -> Iterator[str]:
    """In words, with the way out."""
    versions = [wish.version for wish in wishes]
    if len(wishes) > MOST_VARIANTS:
        yield f"{len(wishes)} variants; at most {MOST_VARIANTS} are asked besides the champion"
    if champion in versions:
        yield f"{champion} is the champion and has whatever the variants leave; leave it out"
    if len(set(versions)) < len(versions):
        yield "a version stands there twice; name each once"
    if sum(wish.mode == CANARY for wish in wishes) > 1:
        yield "two canaries; only one version at a time is on its way to be champion"
    for wish in wishes:
        if wish.mode not in MODES:
            yield f"{wish.version}: the mode is one of {', '.join(MODES)}"
        if wish.mode == SHADOW and wish.share:
            yield f"{wish.version}: a shadow answers nobody, so it has no share"
        if wish.mode != SHADOW and not 1 / SLOTS <= wish.share < 1:
            yield f"{wish.version}: a {wish.mode} has a share from {1 / SLOTS:g} to below 1"
    if sum(round(wish.share * SLOTS) for wish in wishes) >= SLOTS:
        yield "the shares add up to 1 or more; the champion must keep some"
