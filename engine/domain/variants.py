"""Change who answers besides the champion: check the request, then append the event."""

from collections.abc import Iterator, Sequence

from engine.domain import history
from engine.domain.errors import InvalidTraffic, ModelNotReady, Outpaced, UnknownVersion
from engine.domain.history import Action, History
from engine.domain.ports import Champion
from engine.domain.traffic import CANARY, MODES, SHADOW, SLOTS, Traffic, VariantRequest
from engine.domain.version import Version

MOST_VARIANTS = 4


def set_variants(
    champion: Champion,
    known: Sequence[Version],
    requests: Sequence[VariantRequest],
    *,
    who: str,
    why: str,
    revision: int | None = None,
    action: str = Action.ARRANGED,
    challenger: Version | None = None,
) -> Traffic:
    """Give the champion these variants and no others; `known` are the registered versions.

    Raises UnknownVersion, InvalidTraffic naming the broken rule, ModelNotReady without a champion,
    and Outpaced when the history is not at `revision`, or grows meanwhile.
    """
    past = champion.history()
    if revision not in {None, len(past)}:
        raise Outpaced(f"the deployment is at revision {len(past)}, not {revision}; read it again")
    now = history.champion(past)
    if now is None:
        raise ModelNotReady("no champion is registered; train one with train_model.py")
    traffic = traffic_for(past, known, requests)
    champion.move(
        action, now, who=who, why=why, after=len(past), challenger=challenger, traffic=traffic
    )
    return traffic


def traffic_for(
    past: History, known: Sequence[Version], requests: Sequence[VariantRequest]
) -> Traffic:
    """The traffic that grants the requests; raises UnknownVersion or InvalidTraffic."""
    servable = history.servable(past, known)
    for request in requests:
        if request.version not in servable:
            raise UnknownVersion(f"there is no version {request.version}")
    for broken in _broken_rules(history.champion(past), requests):
        raise InvalidTraffic(broken)
    return history.traffic(past).changed(requests, salt=f"experiment {len(past) + 1}")


def _broken_rules(champion: Version | None, requests: Sequence[VariantRequest]) -> Iterator[str]:
    """In words, with the way out."""
    versions = [request.version for request in requests]
    if len(requests) > MOST_VARIANTS:
        yield f"{len(requests)} variants; at most {MOST_VARIANTS} are allowed besides the champion"
    if champion in versions:
        yield f"{champion} is the champion, which gets all other units; leave it out"
    if len(set(versions)) < len(versions):
        yield "a version appears more than once; name each version once"
    if sum(request.mode == CANARY for request in requests) > 1:
        yield "there are two canaries; only one version at a time can be a canary"
    for request in requests:
        if request.mode not in MODES:
            yield f"{request.version}: the mode must be one of {', '.join(MODES)}"
        if request.mode == SHADOW and request.share:
            yield f"{request.version}: a shadow answers no request; leave its share out"
        if request.mode != SHADOW and not 1 / SLOTS <= request.share < 1:
            yield f"{request.version}: the share must be from {1 / SLOTS:g} to below 1"
    if sum(round(request.share * SLOTS) for request in requests) >= SLOTS:
        yield "the shares add up to 1 or more; leave a share to the champion"
