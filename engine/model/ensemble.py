"""The trees inside an ONNX graph, as arrays over their nodes.

Read here because the `onnx` library is for making graphs: to import it takes half a second and
20 MB, and all that is needed of a graph are the attributes of one node and one table. The format is
protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding/), the messages are
those of `onnx.proto`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.schema import Matrix, Vector

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_INPUT, _OP_TYPE, _ATTRIBUTE = 1, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 1, 3, 5, 8
_DIMENSIONS, _NUMBER_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9
_NUMBERS = {2: "u1", 7: "<i8", 11: "<f8"}
_STEPS_WITH_SHAPE = ["TreeEnsemble", "Split", "Cast", "Gather", "ReduceMean"]
_STEPS_WITHOUT = ["TreeEnsemble"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """All trees of a model, in the order in which they are added up.

    Inner nodes and leaves are numbered apart; arrays are over inner nodes, but for those of the
    leaves. A row goes to the `true` child where its feature is at most the threshold. `targets` is
    what the leaves of each tree are added to: 0 location (or the score of an event), 1 spread, and
    one for each tree of the shape, whose leaves hold row numbers of `distributions` (leaves, t).
    """

    roots: Ints
    features: Ints
    thresholds: Vector
    missing_goes_true: NDArray[np.bool_]
    true_child: Ints
    true_is_leaf: NDArray[np.bool_]
    false_child: Ints
    false_is_leaf: NDArray[np.bool_]
    leaf_target: Ints
    leaf_value: Vector
    targets: int
    distributions: Matrix | None


@dataclass(frozen=True, eq=False)
class LeafOrder:
    """The leaves of each tree, counted from the left.

    The leaves below inner node i of tree `tree[i]` are `begin[i]` to `end[i]`, of which those
    before `middle[i]` are on its true side; leaf j is leaf `leaf_place[j]` of tree `leaf_tree[j]`.
    """

    tree: Ints
    begin: Ints
    middle: Ints
    end: Ints
    leaf_tree: Ints
    leaf_place: Ints


def order_leaves(trees: TreeEnsemble) -> LeafOrder:
    """Level by level, all trees at once: down to find them, up to count, and down to number.

    Raises ValueError for nodes that are below themselves.
    """
    sides = (trees.true_child, trees.true_is_leaf), (trees.false_child, trees.false_is_leaf)
    tree, begin, below = np.zeros((3, len(trees.features)), dtype=np.int64)
    leaf_tree, leaf_place = np.zeros((2, len(trees.leaf_value)), dtype=np.int64)
    counts = np.ones((2, len(tree)), dtype=np.int64)
    levels, tree[trees.roots] = [trees.roots], np.arange(len(trees.roots))
    while len(parents := levels[-1]):
        inner = [parents[~is_leaf[parents]] for _, is_leaf in sides]
        for some, (child, _) in zip(inner, sides, strict=True):
            tree[child[some]] = tree[some]
        if sum(map(len, levels)) > len(tree):
            raise ValueError("these nodes are no trees")
        levels.append(
            np.concatenate([child[some] for some, (child, _) in zip(inner, sides, strict=True)])
        )
    for parents in reversed(levels):
        for count, (child, is_leaf) in zip(counts, sides, strict=True):
            some = parents[~is_leaf[parents]]
            count[some] = below[child[some]]
        below[parents] = counts[:, parents].sum(axis=0)
    middle = np.zeros_like(begin)
    for parents in levels:
        middle[parents] = begin[parents] + counts[0, parents]
        for start, (child, is_leaf) in zip((begin, middle), sides, strict=True):
            leaf, some = parents[is_leaf[parents]], parents[~is_leaf[parents]]
            leaf_tree[child[leaf]], leaf_place[child[leaf]] = tree[leaf], start[leaf]
            begin[child[some]] = start[some]
    return LeafOrder(tree, begin, middle, begin + below, leaf_tree, leaf_place)


def read_trees(graph: bytes) -> TreeEnsemble:
    """Raises ValueError, LookupError or TypeError for a graph that holds anything else than what
    this project writes."""
    parts = _fields_of(_fields_of(graph)[_GRAPH][0])
    nodes = [_fields_of(node) for node in parts[_NODE]]
    steps = [bytes(node[_OP_TYPE][0]).decode() for node in nodes]
    if steps not in (_STEPS_WITH_SHAPE, _STEPS_WITHOUT):
        raise ValueError(f"unknown steps {steps}")
    if nodes[0][_INPUT] != [b"rows"]:
        raise ValueError("the trees ask something else than the rows")
    about = dict(map(_attribute, nodes[0][_ATTRIBUTE]))
    tensors = dict(map(_tensor, parts.get(_INITIALIZER, ())))
    if about["nodes_modes"].any() or about["aggregate_function"] != 1 or about["post_transform"]:
        raise ValueError("other nodes, or another sum")
    return TreeEnsemble(
        roots=about["tree_roots"],
        features=about["nodes_featureids"],
        thresholds=about["nodes_splits"],
        missing_goes_true=about["nodes_missing_value_tracks_true"].astype(bool),
        true_child=about["nodes_truenodeids"],
        true_is_leaf=about["nodes_trueleafs"].astype(bool),
        false_child=about["nodes_falsenodeids"],
        false_is_leaf=about["nodes_falseleafs"].astype(bool),
        leaf_target=about["leaf_targetids"],
        leaf_value=about["leaf_weights"],
        targets=about["n_targets"],
        distributions=tensors["leaves"] if steps == _STEPS_WITH_SHAPE else None,
    )


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a message: their numbers, and an int or a piece of it."""
    data, place = memoryview(message), 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > len(data):
            raise ValueError("a field ends after its message")
        yield number, data[place : place + size]
        place += size


def _fields_of(message: Any) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, value in _fields(message):
        found.setdefault(number, []).append(value)
    return found


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def _attribute(message: Any) -> tuple[str, Any]:
    """Name and value: an int, an array of ints, or a tensor."""
    size, start = _varint(message, 1)
    if message[0] != _ATTRIBUTE_NAME << 3 | _BYTES:
        raise ValueError("an attribute begins with its name")
    name, rest = bytes(message[start : start + size]).decode(), message[start + size :]
    if rest[0] == _ATTRIBUTE_INTS << 3:
        return name, _repeated(rest)
    found = _fields_of(rest)
    if _ATTRIBUTE_TENSOR in found:
        return name, _tensor(found[_ATTRIBUTE_TENSOR][0])[1]
    return name, found.get(_ATTRIBUTE_INT, [0])[0]


def _repeated(data: memoryview) -> Ints:
    """Ints that each come after their field's key; the attribute's type stands behind them all."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 128)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    shifts = 7 * (np.arange(len(raw)) - np.repeat(starts, sizes)).astype(np.int64)
    numbers = np.add.reduceat((raw & 127).astype(np.int64) << shifts, starts)
    return np.asarray(numbers[1::2][numbers[::2] == _ATTRIBUTE_INTS << 3])


def _tensor(message: Any) -> tuple[str, NDArray[Any]]:
    """Name and numbers of a tensor, copied: in the message they may lie at an odd address, where
    numpy would copy them each time they are used."""
    found = _fields_of(message)
    name = bytes(found.get(_TENSOR_NAME, [b""])[0]).decode()
    numbers = np.frombuffer(found[_RAW_DATA][0], _NUMBERS[found[_NUMBER_TYPE][0]])
    return name, numbers.reshape(found.get(_DIMENSIONS, [])).copy()
