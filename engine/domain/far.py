"""A champion that is far off beside a challenger that is far better: when waiting does more harm.

Both answered the same rows. Three things must hold, in this order:
1. *The champion is far off.* It covers FAR less than its intervals claim, and that it covers less
   at all is shown: an e-process against every row's own claim.
2. *The challenger covers more.* By FAR, as measured; and that of the rows that one of the two
   covers alone more are the challenger's is shown at `alpha`: a sign test, again an e-process.
3. *It is not by width alone.* Its mean interval score is no higher, as measured.

An e-process is a likelihood ratio, averaged over alternatives; where the null hypothesis is true it
ever reaches 1 / alpha with probability at most alpha (Ville), so one may look as often as one
likes, and no number of rows is too small to look at. Of a challenger that covers no more than the
champion the second test alone bounds how often it takes its place.

Sources: Ramdas, Gruenwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Statistical Science 38 (2023), sections 2 and 3; interval score: Gneiting and Raftery,
JASA 102 (2007), section 6.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.domain.judgement import ALPHA
from engine.domain.kinds import TargetKind
from engine.domain.schema import Vector

FEWEST = 50
"""With fewer rows nothing is decided."""
_FAR = 0.05
"""Of coverage."""
LESS, MORE = np.linspace(0.02, 0.98, 49), np.linspace(1.02, 1.98, 49)
"""Alternatives: the true probability as a multiple of the claimed one."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """One side's intervals for n rows, (n,) each, and the level that each of them claims."""

    lower: Vector
    upper: Vector
    level: Vector

    def hold(self, truth: Vector) -> NDArray[np.bool_]:
        return np.asarray((self.lower <= truth) & (truth <= self.upper))

    def scores(self, truth: Vector, kind: TargetKind) -> Vector:
        """The interval score of each row, (n,), lower is better: of a positive quantity on the
        scale of its logarithm, where an expensive row counts as much as a cheap one."""
        lower, upper, truth = map(kind.measure.scaled, (self.lower, self.upper, truth))
        beyond = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
        return np.asarray(upper - lower + 2 / (1 - self.level) * beyond)


@dataclass(frozen=True)
class FarBetter:
    """What was seen: outcomes, the level claimed, the share each side's intervals hold, and by how
    much the challenger's interval score is lower."""

    outcomes: int
    level: float
    old: float
    new: float
    sharper: float

    def told(self, old: str, new: str) -> str:
        """In words; both sides have names."""
        return (
            f"of {self.outcomes:,} outcomes {old}'s intervals, which claim {self.level:.3g}, hold "
            f"{self.old:.1%}, {new}'s {self.new:.1%}, at an interval score {self.sharper:.0%} lower"
        )


def far_better(
    kind: TargetKind,
    unit: NDArray[np.int64],
    truth: Vector,
    *,
    old: Bounds,
    new: Bounds,
    alpha: float,
) -> FarBetter | None:
    """How the champion (`old`) is far off and the challenger far better, or None.

    Of n rows with known truth, (n,); rows of one `unit` are no independent evidence, the first of
    them counts.
    """
    first = np.sort(np.unique(unit, return_index=True)[1])
    holds, better = old.hold(truth)[first], new.hold(truth)[first]
    n, level = len(first), old.level[first]
    if n < FEWEST or holds.mean() > min(level.mean(), better.mean()) - _FAR:
        return None
    alone = (holds != better).nonzero()[0]
    is_off = e_value(holds, level, LESS) >= 1 / ALPHA
    if not is_off or e_value(better[alone], np.full(len(alone), 0.5), MORE) < 1 / alpha:
        return None
    before, after = (side.scores(truth, kind)[first].mean() for side in (old, new))
    if not (after <= before and np.isfinite(after)):
        return None
    shares = float(level.mean()), float(holds.mean()), float(better.mean())
    return FarBetter(n, *shares, sharper=float(1 - after / before))


def e_value(happened: NDArray[np.bool_], chance: Vector, times: Vector) -> float:
    """Evidence against "each of n things happens with its chance, or (where `times` are above 1)
    less likely, (below 1) likelier", (n,) each: the mean likelihood ratio over the alternatives."""
    misses = chance[~happened, None]
    with np.errstate(divide="ignore"):
        ratios = np.log((1 - misses * times) / (1 - misses)).sum(axis=0)
    logs = happened.sum() * np.log(times) + ratios
    return float(np.exp(logs.clip(max=500)).mean())
