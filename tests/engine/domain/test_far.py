"""A champion that is far off is found out, and an equal challenger takes nobody's place."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from engine.domain.far import FEWEST, LESS, MORE, Bounds, e_value, far_better
from engine.domain.judgement import ALPHA
from engine.domain.kinds import POSITIVE, REAL
from engine.domain.schema import Vector
from engine.judging.gate import level

LEVEL = 0.9
CHAMPIONS = 400
SUCCESSIVE = 30
ROWS = 145
Hits = NDArray[np.bool_]


def bounds(truth: Vector, holds: Hits, width: float = 2.0) -> Bounds:
    """Intervals of one width around 100 that hold the truth, or lie just above it."""
    lower = np.where(holds, truth - width / 2, truth + 1)
    return Bounds(lower, lower + width, np.full(len(truth), LEVEL))


def compared(
    old: Hits,
    new: Hits,
    *,
    width: float = 2.0,
    unit: NDArray[np.int64] | None = None,
    alpha: float = ALPHA,
) -> str | None:
    """Whether each side holds each of n truths."""
    truth = np.full(len(old), 100.0)
    own = np.arange(len(old)) if unit is None else unit
    before, after = bounds(truth, old), bounds(truth, new, width)
    found = far_better(REAL, own, truth, old=before, new=after, alpha=alpha)
    return None if found is None else found.told("v1.0.0", "v1.0.1")


def share(hits: int, n: int = ROWS) -> Hits:
    return np.arange(n) % n < hits


def test_it_is_told_in_figures() -> None:
    assert compared(share(60), share(130)) == (
        "of 145 outcomes v1.0.0's intervals, which claim 0.9, hold 41.4%, v1.0.1's 89.7%, "
        "at an interval score 70% lower"
    )


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("the champion holds", lambda: compared(share(130), share(145))),
        ("it is not shown yet", lambda: compared(share(122), share(130))),
        ("both are as far off", lambda: compared(share(60), share(60))),
        ("it covers hardly more", lambda: compared(share(60), share(66))),
        ("the challenger covers by width alone", lambda: compared(share(60), share(145), width=99)),
        ("too few", lambda: compared(share(10, FEWEST - 1), share(FEWEST - 1, FEWEST - 1))),
        (
            "they are rows of a few units",
            lambda: compared(share(60), share(130), unit=np.arange(ROWS) // 10),
        ),
    ],
)
def test_nobody_is_replaced_where(why: str, found: Callable[[], str | None]) -> None:
    assert found() is None, why


def test_a_positive_quantity_is_scored_on_the_scale_of_its_logarithm() -> None:
    """One dear row would else decide alone: here the challenger misses only that."""
    truth = np.append(np.full(ROWS, 1.0), 1e6)
    level = np.full(len(truth), LEVEL)
    held = np.append(share(60), True)
    old = Bounds(np.where(held, truth / 2, 2 * truth), 4 * truth, level)
    new = Bounds(np.append(truth[:-1] / 2, 0.1e6), np.append(2 * truth[:-1], 0.2e6), level)
    unit = np.arange(len(truth))
    assert far_better(REAL, unit, truth, old=old, new=new, alpha=ALPHA) is None
    assert far_better(POSITIVE, unit, truth, old=old, new=new, alpha=ALPHA) is not None


def test_intervals_without_end_replace_nobody() -> None:
    """Of two infinite scores none is lower."""
    truth = np.full(ROWS, 100.0)
    old, new = bounds(truth, share(60)), bounds(truth, share(ROWS))
    old, new = (Bounds(np.full(ROWS, -np.inf), one.upper, one.level) for one in (old, new))
    assert far_better(REAL, np.arange(ROWS), truth, old=old, new=new, alpha=ALPHA) is None


def equal_pairs(rng: np.random.Generator, coverage: float) -> Iterator[tuple[Hits, Hits]]:
    """Successive challengers that cover as much as the champion, each on rows of its own."""
    for _ in range(SUCCESSIVE):
        both = rng.random(ROWS) < coverage - 0.05
        alone = rng.random((2, ROWS)) < 0.05 / (1 - coverage + 0.05)
        yield both | alone[0], both | alone[1]


def is_ever_replaced(rng: np.random.Generator, coverage: float) -> bool:
    pairs = enumerate(equal_pairs(rng, coverage), start=1)
    return any(compared(old, new, alpha=level(attempt)) for attempt, (old, new) in pairs)


@pytest.mark.parametrize("coverage", [0.9, 0.8, 0.5])
def test_of_thirty_successive_equal_challengers_hardly_ever_one_takes_the_place(
    coverage: float,
) -> None:
    """However far off both are; at most ALPHA of champions, within what chance allows."""
    rng = np.random.default_rng(7)
    wrong = sum(is_ever_replaced(rng, coverage) for _ in range(CHAMPIONS))
    assert wrong <= stats.binom.isf(1e-4, CHAMPIONS, ALPHA)


@pytest.mark.parametrize(("chance", "times"), [(0.5, MORE), (0.9, LESS)])
def test_evidence_against_the_truth_is_rare_whenever_one_looks(
    chance: float, times: Vector
) -> None:
    """Ville: it ever reaches 20 in at most one of 20 streams."""
    rng = np.random.default_rng(3)
    ever = 0
    for happened in rng.random((CHAMPIONS, 300)) < chance:
        looks = (happened[:n] for n in range(5, 301, 5))
        ever += any(e_value(part, np.full(len(part), chance), times) >= 20 for part in looks)
    assert ever <= stats.binom.isf(1e-4, CHAMPIONS, ALPHA)


def test_evidence_grows_where_the_claim_is_false() -> None:
    misses = np.zeros(10, dtype=bool)
    assert e_value(misses, np.full(10, 0.9), LESS) > 1e4
    assert e_value(~misses, np.full(10, 0.5), MORE) > 50
    assert e_value(misses, np.full(10, 0.5), MORE) < 0.1
