"""Who gets which variant: stable, uniform, and moved only where a share makes it necessary."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.domain.errors import InvalidTraffic, UnknownVersion
from engine.domain.history import Event
from engine.domain.traffic import (
    ALONE,
    CANARY,
    SHADOW,
    SLOTS,
    TEST,
    Traffic,
    VariantRequest,
    slot_of,
)
from engine.domain.variants import traffic_for
from engine.domain.version import Version

CHAMPION, A, B, C = map(Version.parse, ("v1.0.0", "v1.1.0-rc.1", "v1.1.0-rc.2", "v1.1.0-rc.3"))
UNITS = [f"user {number}".encode() for number in range(20_000)]
PAST = [Event(1, "2026-01-01T00:00:00.000Z", "trained", CHAMPION, None, "tests", "the first")]


def split(*requests: tuple[Version, float], of: Traffic = ALONE, salt: str = "s") -> Traffic:
    return of.changed([VariantRequest(version, TEST, share) for version, share in requests], salt)


def test_units_fall_evenly_into_slots() -> None:
    """Chi-square over 100 bins: below its 99.99 % quantile."""
    counts = Counter(slot_of("s", unit) * 100 // SLOTS for unit in UNITS)
    assert stats.chisquare(list(counts.values())).statistic < stats.chi2.ppf(0.9999, 99)


def test_the_assignment_is_the_same_on_every_machine_and_in_every_release() -> None:
    """Written down once: another value would move every unit of every running experiment."""
    assert [slot_of("experiment 2", unit) for unit in UNITS[:4]] == [3881, 8574, 4293, 5585]


def test_an_alone_champion_answers_everybody() -> None:
    assert {ALONE.version_for(unit) for unit in UNITS} == {None}


def test_shares_are_what_was_asked_for() -> None:
    traffic = split((A, 0.2), (B, 0.05))
    owners = Counter(traffic.version_for(unit) for unit in UNITS)
    for version, share in ((A, 0.2), (B, 0.05), (None, 0.75)):
        tolerance = 4 * (share * (1 - share) / len(UNITS)) ** 0.5
        assert abs(owners[version] / len(UNITS) - share) < tolerance


SHARES = st.lists(st.integers(0, 3_000), min_size=3, max_size=3)


@given(SHARES, SHARES)
def test_only_units_that_must_move_do(before: list[int], after: list[int]) -> None:
    """As many as the shares that grew, the champion's included, and not one more."""
    versions = (A, B, C)
    old = split(*((v, n / SLOTS) for v, n in zip(versions, before, strict=True)))
    new = split(*((v, n / SLOTS) for v, n in zip(versions, after, strict=True)), of=old)
    owners = [{slot: v.version for v in t.variants for slot in slots(v.slots)} for t in (old, new)]
    moved = sum(owners[0].get(slot) != owners[1].get(slot) for slot in range(SLOTS))
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert moved == sum(max(0, change) for change in (*grown, -sum(grown)))
    assert [len(slots(v.slots)) for v in new.variants] == after


def slots(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [slot for start, stop in ranges for slot in range(start, stop)]


def test_a_new_experiment_draws_its_units_anew_and_a_changed_one_does_not() -> None:
    first = split((A, 0.1))
    assert split((A, 0.2), (B, 0.1), of=first, salt="t").salt == "s"
    second = split((B, 0.1), of=first, salt="t")
    both = sum(first.version_for(u) == A and second.version_for(u) == B for u in UNITS)
    assert second.salt == "t"
    assert abs(both / len(UNITS) - 0.01) < 4 * (0.01 * 0.99 / len(UNITS)) ** 0.5


def test_it_survives_being_written_down() -> None:
    traffic = split((A, 0.1), (B, 0.2), of=split((B, 0.3)))
    assert Traffic.from_json(traffic.as_json()) == traffic


@pytest.mark.parametrize(
    ("requests", "rule"),
    [
        ([VariantRequest(CHAMPION, TEST, 0.1)], "is the champion"),
        ([VariantRequest(A, TEST, 0.1), VariantRequest(A, SHADOW)], "more than once"),
        ([VariantRequest(A, CANARY, 0.1), VariantRequest(B, CANARY, 0.1)], "two canaries"),
        ([VariantRequest(A, "mirror", 0.1)], "the mode must be one of test, canary, shadow"),
        ([VariantRequest(A, SHADOW, 0.1)], "leave its share out"),
        ([VariantRequest(A, TEST, 0.0)], "share must be from 0.0001"),
        ([VariantRequest(A, TEST, 0.00001)], "share must be from 0.0001"),
        ([VariantRequest(A, TEST, 0.6), VariantRequest(B, TEST, 0.4)], "add up to 1"),
        ([VariantRequest(A, TEST, float("nan"))], "share must be from"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_rule(
    requests: list[VariantRequest], rule: str
) -> None:
    with pytest.raises(InvalidTraffic, match=rule):
        traffic_for(PAST, [CHAMPION, A, B], requests)


def test_an_unknown_version_is_told() -> None:
    with pytest.raises(UnknownVersion, match=r"v1\.1\.0-rc\.3"):
        traffic_for(PAST, [CHAMPION, A, B], [VariantRequest(C, SHADOW)])
