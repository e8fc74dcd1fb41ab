"""scikit-learn tree ensembles as one ONNX graph in float64, answering exactly as they do.

Written here because the trees must take the same branch as in scikit-learn: the TreeEnsemble
operator of ai.onnx.ml opset 5 takes double inputs and thresholds, which the converters at hand do
not emit, and in float32 a value next to a threshold goes down the other branch. Location and spread
become two targets of one node; of the shape forest the same node answers which leaf each tree ends
in, and the leaves' distributions are looked up and averaged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from engine.domain.conformal import Outputs
from engine.domain.schema import Matrix, Vector

OPSETS = (("", 21), ("ai.onnx.ml", 5))
IR_VERSION = 10


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree as parallel arrays over its nodes; node 0 is the root."""

    is_leaf: NDArray[np.bool_]
    feature: NDArray[np.int64]
    threshold: Vector
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_goes_left: NDArray[np.bool_]
    value: Vector


@dataclass(frozen=True, eq=False)
class Ensembles:
    """Fitted scikit-learn estimators; location and spread are means over their members."""

    location: Sequence[Any]
    spread: Sequence[Any]
    shape: Any


def compile_graph(ensembles: Ensembles, features: int) -> bytes:
    """A graph from `rows` (n, features) to `scale` (n, 2: location, spread) and `shape` (n, t)."""
    nodes = _Nodes()
    nodes.add(0, _mean_of(ensembles.location))
    nodes.add(1, _mean_of(ensembles.spread))
    leaves = []
    for number, member in enumerate(ensembles.shape.estimators_):
        tree, distributions = _leaf_finder(member.tree_, first=sum(map(len, leaves)))
        nodes.add(2 + number, [tree])
        leaves.append(distributions)
    return _graph(nodes, np.concatenate(leaves), features, trees=len(leaves))


def _mean_of(members: Sequence[Any]) -> list[Tree]:
    return [
        replace(tree, value=tree.value / len(members))
        for member in members
        for tree in _trees(member)
    ]


def _leaf_finder(tree: Any, first: int) -> tuple[Tree, Matrix]:
    """A tree that answers the number of the leaf, and what stands in the leaves (leaves, t)."""
    is_leaf = tree.children_left < 0
    number = first + np.cumsum(is_leaf) - 1.0
    return replace(_plain_tree(tree, share=1), value=number), tree.value[is_leaf, :, 0]


def _trees(estimator: Any) -> Iterator[Tree]:
    """The trees of an ensemble, whose values add up to its prediction."""
    if isinstance(estimator, HistGradientBoostingRegressor):
        yield _constant(float(np.ravel(estimator._baseline_prediction)[0]))
        for (predictor,) in estimator._predictors:
            yield _histogram_tree(predictor.nodes)
    elif isinstance(estimator, RandomForestRegressor | ExtraTreesRegressor):
        for member in estimator.estimators_:
            yield _plain_tree(member.tree_, share=1 / len(estimator.estimators_))
    else:
        raise TypeError(f"no way to compile a {type(estimator).__name__}")


def _constant(value: float) -> Tree:
    none = np.zeros(1, dtype=np.int64)
    leaf = np.ones(1, dtype=bool)
    return Tree(leaf, none, np.zeros(1), none, none, ~leaf, np.array([value]))


def _histogram_tree(nodes: Any) -> Tree:
    return Tree(
        is_leaf=nodes["is_leaf"].astype(bool),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_goes_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"],
    )


def _plain_tree(tree: Any, share: float) -> Tree:
    return Tree(
        is_leaf=tree.children_left < 0,
        feature=tree.feature,
        threshold=_undo_rounding(tree.threshold),
        left=tree.children_left,
        right=tree.children_right,
        missing_goes_left=tree.missing_go_to_left.astype(bool),
        value=tree.value[:, 0, 0] * share,
    )


def _undo_rounding(threshold: Vector) -> Vector:
    """Forests round their input to float32 first: the float64 threshold that splits the same way.

    A value goes left when its nearest float32 does, that is up to the midpoint between the last
    float32 that goes left and the first that does not (ties go to the even one).
    """
    last = threshold.astype(np.float32)
    last = np.where(last > threshold, np.nextafter(last, np.float32(-np.inf)), last)
    first = np.nextafter(last, np.float32(np.inf))
    middle = (last.astype(np.float64) + first.astype(np.float64)) / 2
    return np.where(middle.astype(np.float32) == last, middle, np.nextafter(middle, -np.inf))


STUMP = Tree(
    is_leaf=np.array([False, True, True]),
    feature=np.zeros(3, dtype=np.int64),
    threshold=np.zeros(3),
    left=np.array([1, 0, 0]),
    right=np.array([2, 0, 0]),
    missing_goes_left=np.zeros(3, dtype=bool),
    value=np.zeros(3),
)
"""A tree that says nothing, whichever way a row goes."""


class _Nodes:
    """Collects trees in the operator's encoding: inner nodes and leaves are numbered apart."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.columns: dict[str, list[NDArray[Any]]] = {}
        self.inner = 0
        self.leaves = 0

    def add(self, target: int, trees: list[Tree]) -> None:
        """Add the trees of one target; the operator knows no bare leaf, so those join another."""
        constant = sum(float(tree.value[0]) for tree in trees if tree.is_leaf[0])
        first, *others = [tree for tree in trees if not tree.is_leaf[0]] or [STUMP]
        for tree in (replace(first, value=first.value + constant), *others):
            self._append(target, tree)

    def _append(self, target: int, tree: Tree) -> None:
        leaf = tree.is_leaf
        split = np.flatnonzero(~leaf)
        number = np.where(
            leaf, self.leaves + np.cumsum(leaf) - 1, self.inner + np.cumsum(~leaf) - 1
        )
        left, right = tree.left[split], tree.right[split]
        self.roots.append(self.inner)
        self._extend("nodes_featureids", tree.feature[split])
        self._extend("nodes_splits", tree.threshold[split])
        self._extend("nodes_missing_value_tracks_true", tree.missing_goes_left[split])
        self._extend("nodes_truenodeids", number[left])
        self._extend("nodes_trueleafs", leaf[left])
        self._extend("nodes_falsenodeids", number[right])
        self._extend("nodes_falseleafs", leaf[right])
        self._extend("leaf_targetids", np.full(leaf.sum(), target))
        self._extend("leaf_weights", tree.value[leaf])
        self.inner += len(split)
        self.leaves += int(leaf.sum())

    def _extend(self, name: str, part: NDArray[Any]) -> None:
        self.columns.setdefault(name, []).append(part)

    def node(self, targets: int) -> onnx.NodeProto:
        """One TreeEnsemble node from `rows` to `trees` (n, targets), each the sum of its trees."""
        joined = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        tensors = {
            name: numpy_helper.from_array(joined.pop(name).astype(np.float64))
            for name in ("nodes_splits", "leaf_weights")
        }
        return helper.make_node(
            "TreeEnsemble",
            ["rows"],
            ["trees"],
            domain="ai.onnx.ml",
            n_targets=targets,
            aggregate_function=1,
            post_transform=0,
            tree_roots=self.roots,
            nodes_modes=numpy_helper.from_array(np.zeros(self.inner, dtype=np.uint8)),
            **tensors,
            **{name: part.astype(np.int64).tolist() for name, part in joined.items()},
        )


def _graph(nodes: _Nodes, leaves: Matrix, features: int, *, trees: int) -> bytes:
    steps = [
        nodes.node(2 + trees),
        helper.make_node("Split", ["trees", "widths"], ["scale", "numbers"], axis=1),
        helper.make_node("Cast", ["numbers"], ["leaf"], to=TensorProto.INT64),
        helper.make_node("Gather", ["leaves", "leaf"], ["found"], axis=0),
        helper.make_node("ReduceMean", ["found", "over_trees"], ["shape"], keepdims=0),
    ]
    constants = {
        "widths": np.array([2, trees], dtype=np.int64),
        "leaves": leaves,
        "over_trees": np.array([1], dtype=np.int64),
    }
    graph = helper.make_graph(
        steps,
        "model",
        [helper.make_tensor_value_info("rows", TensorProto.DOUBLE, [None, features])],
        [
            helper.make_tensor_value_info("scale", TensorProto.DOUBLE, [None, 2]),
            helper.make_tensor_value_info("shape", TensorProto.DOUBLE, [None, leaves.shape[1]]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized


def run(graph: bytes, rows: Matrix) -> Outputs:
    """Ask a compiled graph, as the server will."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    scale, shape = session.run(["scale", "shape"], {"rows": rows})
    return Outputs(location=scale[:, 0], spread=scale[:, 1], shape=shape)


def ask(ensembles: Ensembles, rows: Matrix) -> Outputs:
    """Ask the estimators themselves."""
    return Outputs(
        location=np.mean([member.predict(rows) for member in ensembles.location], axis=0),
        spread=np.mean([member.predict(rows) for member in ensembles.spread], axis=0),
        shape=ensembles.shape.predict(rows),
    )


def disagreement(ensembles: Ensembles, graph: bytes, rows: Matrix) -> float:
    """The largest absolute difference between the graph and the estimators over (n, features)."""
    ours, theirs = run(graph, rows), ask(ensembles, rows)
    pairs = zip(vars(ours).values(), vars(theirs).values(), strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs)
