"""Trees as bit masks: all trees are asked at once, without a branch.

The leaves of a tree are the bits of a word of 64 bits; larger trees have several words. For each
feature a table says which leaves stay possible in each bin between two thresholds; of all features
of a row together, exactly one leaf of each tree stays. Answers are those of the trees to the last
bit: values are added up in the order of the trees.

Source: Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of
regression trees", SIGIR 2015, section 3; here the masks of all conditions on a feature are merged
into one table per feature, and those of conditions that hold are used, too, so that the one bit
that stays is the leaf.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.conformal import Outputs
from engine.domain.schema import Matrix, Vector
from engine.model.ensemble import Ints, LeafOrder, TreeEnsemble, order_leaves

_BITS = 64
_ALL = np.uint64(2**64 - 1)
_MOST_BYTES = 64 << 20
"""The most memory that the masks of a model may take."""
_BLOCK_WORDS = 1 << 15
"""How many words of masks are worked on at once: they stay in a core's own cache."""
_FIRST_SHAPE = 2
"""The target of the first tree of the shape; location and spread, or a score, come before."""

_Words = NDArray[np.uint64]
_Leaves = NDArray[np.uint8]
"""(n, words): the number of the leaf that is reached, or 64 where that is in another word."""


@dataclass(frozen=True, eq=False)
class BitMasks:
    """A model's trees, ready to be asked."""

    features: list["_Feature"]
    sums: list["_Sum"]
    shape: "_Shape | None"
    words: int

    def outputs(self, rows: Matrix) -> Outputs:
        """Ask about (n, features) rows."""
        bins = [feature.edges.searchsorted(rows[:, feature.column]) for feature in self.features]
        scale = np.empty((len(self.sums), len(rows)))
        shape = None if self.shape is None else np.empty((len(rows), self.shape.thresholds))
        block = max(_BLOCK_WORDS // self.words, 1)
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            leaves = self._leaves([of_feature[part] for of_feature in bins])
            for of_target, total in zip(scale, self.sums, strict=True):
                of_target[part] = total.of(leaves)
            if shape is not None and self.shape is not None:
                shape[part] = self.shape.of(leaves)
        return Outputs.of(scale.T, shape)

    def _leaves(self, bins: list[Ints]) -> _Leaves:
        possible = self.features[0].table.take(bins[0], axis=0)
        for feature, of_feature in zip(self.features[1:], bins[1:], strict=True):
            possible &= feature.table.take(of_feature, axis=0)
        possible -= np.uint64(1)
        return np.bitwise_count(possible)


@dataclass(frozen=True, eq=False)
class _Feature:
    """`edges` are the thresholds, ascending, with infinity behind them: the bin of a value is how
    many edges are less, and a missing value has the bin after the last. `table` is (bins, words).
    """

    column: int
    edges: Vector
    table: _Words


@dataclass(frozen=True, eq=False)
class _Sum:
    """What the leaves in some words add up to; a word without the leaf that is reached adds 0."""

    words: slice
    values: Vector
    places: Ints

    def of(self, leaves: _Leaves) -> Vector:
        """In the order of the trees, (n,): numpy sums a single row in pairs, with other last bits;
        of several it adds whole columns."""
        found = self.values.take(leaves[:, self.words] + self.places)
        if len(found) == 1:
            return np.asarray(np.add.accumulate(found, axis=1)[:, -1])
        return np.asarray(np.add.reduce(np.ascontiguousarray(found.T), axis=0))


@dataclass(frozen=True, eq=False)
class _Shape:
    """What stands in the leaves of the shape's trees, each of which has `width` words."""

    words: slice
    numbers: Ints
    places: Ints
    width: int
    distributions: Matrix

    @property
    def thresholds(self) -> int:
        return int(self.distributions.shape[1])

    def of(self, leaves: _Leaves) -> Matrix:
        """The mean over the trees, (n, thresholds)."""
        numbers = self.numbers.take(leaves[:, self.words] + self.places)
        if self.width > 1:
            numbers = numbers.reshape(len(leaves), -1, self.width).sum(axis=2)
        found = self.distributions.take(numbers, axis=0)
        return np.asarray(np.add.reduce(found, axis=1) / numbers.shape[1])


def compile_masks(trees: TreeEnsemble) -> BitMasks:
    """Raises ValueError for trees whose masks would take too much memory, or that are in another
    order than location, spread and shape."""
    order = order_leaves(trees)
    layout = _lay_out(trees, order)
    edges = {f: _edges(trees.thresholds[trees.features == f]) for f in np.unique(trees.features)}
    if (layout.target[1:] < layout.target[:-1]).any():
        raise ValueError("the trees are not in the order of their targets")
    if 8 * layout.words * sum(map(len, edges.values())) > _MOST_BYTES:
        raise ValueError("the masks take too much memory")
    features = [
        _Feature(int(f), edge, _table(trees, order, layout, feature=f, edges=edge))
        for f, edge in edges.items()
    ]
    values = layout.by_word(order, trees.leaf_value)
    scales = (layout.target == target for target in range(min(trees.targets, _FIRST_SHAPE)))
    sums = [_Sum(mine, *_lookup(values, mine)) for mine in map(layout.words_of, scales)]
    shape = None
    if trees.distributions is not None:
        mine = layout.words_of(layout.target >= _FIRST_SHAPE)
        numbers = _lookup(values.astype(np.int64), mine)
        shape = _Shape(mine, *numbers, width=layout.width, distributions=trees.distributions)
    return BitMasks(features, sums, shape, layout.words)


def _lookup(by_word: NDArray[Any], words: slice) -> tuple[NDArray[Any], Ints]:
    """A flat table of what the leaves of some words have, and where each word's part begins."""
    found = by_word[words]
    return found.ravel(), found.shape[1] * np.arange(len(found))


@dataclass(frozen=True, eq=False)
class _Layout:
    """Which words are whose: of each tree the first one and its target, of each word the bits of
    the leaves in it. Each tree of the shape has `width` words, as many as the largest needs."""

    target: Ints
    first: Ints
    full: _Words
    width: int

    @property
    def words(self) -> int:
        return len(self.full)

    def words_of(self, trees: NDArray[np.bool_]) -> slice:
        """Of trees that follow each other."""
        mine = np.flatnonzero(trees)
        return slice(int(self.first[mine[0]]), int(self.first[mine[-1] + 1]))

    def by_word(self, order: LeafOrder, of_leaf: Vector) -> Vector:
        """What each leaf has, (words, 65); the last of a word is 0, for no leaf."""
        found = np.zeros((self.words, _BITS + 1))
        word, bit = np.divmod(order.leaf_place, _BITS)
        found[self.first[order.leaf_tree] + word, bit] = of_leaf
        return found


def _lay_out(trees: TreeEnsemble, order: LeafOrder) -> _Layout:
    leaves = np.bincount(order.leaf_tree, minlength=len(trees.roots))
    target = np.zeros_like(leaves)
    target[order.leaf_tree] = trees.leaf_target
    needed = -(-leaves // _BITS)
    width = int(needed[target >= _FIRST_SHAPE].max(initial=1))
    words = np.where(target >= _FIRST_SHAPE, width, needed)
    first = np.concatenate(([0], np.cumsum(words)))
    number = np.arange(first[-1]) - np.repeat(first[:-1], words)
    full = _span(np.zeros_like(number), np.repeat(leaves, words) - _BITS * number)
    return _Layout(target, first, full, width)


def _edges(thresholds: Vector) -> Vector:
    return np.append(np.unique(thresholds), np.inf)


def _span(begin: Ints, end: Ints) -> _Words:
    """Words whose bits from `begin` to before `end` are set; both may lie outside."""
    below = [place.clip(0, _BITS).astype(np.uint64) for place in (begin, end)]
    low, high = (
        np.where(n < _BITS, (np.uint64(1) << (n % _BITS)) - np.uint64(1), _ALL) for n in below
    )
    return np.asarray(high & ~low)


def _table(
    trees: TreeEnsemble, order: LeafOrder, layout: _Layout, *, feature: int, edges: Vector
) -> _Words:
    """Which leaves stay possible in each bin of a feature, (bins, words).

    A node's condition holds in all bins up to its threshold and fails in those above: what either
    rules out is set at the nearest bin, and passed on to the bins beyond.
    """
    mine = np.flatnonzero(trees.features == feature)
    at = edges.searchsorted(trees.thresholds[mine])
    tree = order.tree[mine]
    holds, fails, missing = (np.tile(layout.full, (rows, 1)) for rows in (len(edges),) * 2 + (1,))
    for number in range(int(np.diff(layout.first)[tree].max())):
        inside = layout.first[tree] + number < layout.first[tree + 1]
        node, low = mine[inside], _BITS * number
        word, bin_ = layout.first[tree[inside]] + number, at[inside]
        ends = [place[node] - low for place in (order.begin, order.middle, order.end)]
        without_left, without_right = ~_span(ends[0], ends[1]), ~_span(ends[1], ends[2])
        np.bitwise_and.at(holds, (bin_, word), without_right)
        np.bitwise_and.at(fails, (bin_ + 1, word), without_left)
        goes_left = trees.missing_goes_true[node]
        np.bitwise_and.at(missing[0], word, np.where(goes_left, without_right, without_left))
    holds = np.bitwise_and.accumulate(holds[::-1], axis=0)[::-1]
    fails = np.bitwise_and.accumulate(fails, axis=0)
    return np.concatenate((holds & fails, missing))
