"""scikit-learn tree ensembles as one ONNX graph in float64, answering exactly as they do.

Written here because the trees must take the same branch as in scikit-learn: the TreeEnsemble
operator of ai.onnx.ml opset 5 takes double inputs and thresholds, which the converters at hand do
not emit, and in float32 a value next to a threshold goes down the other branch. The trees have
learned from codes of bins; the graph splits at the edges of these bins. Location and spread become
two targets of one node; of the shape forest the same node answers which leaf each tree ends in, and
the leaves' distributions are looked up and averaged. Of an event there is the score alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.domain.conformal import Outputs
from engine.domain.schema import Matrix
from engine.learning.bins import Edges, coded
from engine.learning.trees import STUMP, Tree, answer, leaf_finder, mean_of, with_edges
from engine.model.runtime import run

_OPSETS = (("", 21), ("ai.onnx.ml", 5))
_IR_VERSION = 10


@dataclass(frozen=True, eq=False)
class Ensembles:
    """Fitted scikit-learn estimators; location and spread are means over their members.

    Of an event there is a location only: its score, by classifiers. They are asked about codes by
    these edges; those of older artifacts have none, and are asked about values.
    """

    location: Sequence[Any]
    spread: Sequence[Any] = ()
    shape: Any = None
    edges: Edges | None = None


def compile_graph(ensembles: Ensembles) -> bytes:
    """A graph from `rows` (n, features) to `scale` (n, 2: location, spread) and `shape` (n, t).

    Of an event to `scale` (n, 1: score) alone.
    """
    assert ensembles.edges is not None  # noqa: S101 - older ones were compiled when they were made
    features = len(ensembles.edges)
    nodes = _Nodes(ensembles.edges)
    nodes.add(0, mean_of(ensembles.location))
    if ensembles.shape is None:
        return _model([nodes.node(1, "scale")], {"scale": 1}, {}, features=features)
    nodes.add(1, mean_of(ensembles.spread))
    leaves: list[Matrix] = []
    for number, member in enumerate(ensembles.shape.estimators_):
        tree, distributions = leaf_finder(member.tree_, first=sum(len(one) for one in leaves))
        nodes.add(2 + number, [tree])
        leaves.append(distributions)
    return _graph(nodes, np.concatenate(leaves), features, trees=len(leaves))


class _Nodes:
    """Collects trees in the operator's encoding: inner nodes and leaves are numbered apart."""

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.roots: list[int] = []
        self.columns: dict[str, list[NDArray[Any]]] = {}
        self.inner = 0
        self.leaves = 0

    def add(self, target: int, trees: list[Tree]) -> None:
        """Add the trees of one target; the operator knows no bare leaf, so those join another."""
        constant = sum(float(tree.value[0]) for tree in trees if tree.is_leaf[0])
        first, *others = [tree for tree in trees if not tree.is_leaf[0]] or [STUMP]
        for tree in (replace(first, value=first.value + constant), *others):
            self._append(target, with_edges(tree, self.edges))

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

    def node(self, targets: int, output: str) -> onnx.NodeProto:
        """One TreeEnsemble node from `rows` to `output` (n, targets), each the sum of its trees."""
        joined = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        tensors = {
            name: numpy_helper.from_array(joined.pop(name).astype(np.float64))
            for name in ("nodes_splits", "leaf_weights")
        }
        return helper.make_node(
            "TreeEnsemble",
            ["rows"],
            [output],
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
        nodes.node(2 + trees, "trees"),
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
    return _model(steps, {"scale": 2, "shape": leaves.shape[1]}, constants, features=features)


def _model(
    steps: Sequence[onnx.NodeProto],
    outputs: Mapping[str, int],
    constants: Mapping[str, NDArray[Any]],
    *,
    features: int,
) -> bytes:
    """From `rows` (n, features) to outputs, by name and width."""
    graph = helper.make_graph(
        steps,
        "model",
        [helper.make_tensor_value_info("rows", TensorProto.DOUBLE, [None, features])],
        [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, width])
            for name, width in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized


def _ask(ensembles: Ensembles, rows: Matrix) -> Outputs:
    """Ask the estimators themselves about values (n, features)."""
    if ensembles.edges is not None:
        rows = coded(rows, ensembles.edges)
    location = np.mean([answer(member, rows) for member in ensembles.location], axis=0)
    if ensembles.shape is None:
        return Outputs.of(location[:, None])
    spread = np.mean([answer(member, rows) for member in ensembles.spread], axis=0)
    return Outputs(location, spread, answer(ensembles.shape, rows))


def disagreement(ensembles: Ensembles, graph: bytes, rows: Matrix, *, unit: float = 1.0) -> float:
    """The largest difference between the graph and the estimators over (n, features): absolute in
    the shape, and in multiples of `unit`, which the scale is measured in, in what is on it."""
    ours, theirs = run(graph, rows), _ask(ensembles, rows)
    pairs = ((ours.location, theirs.location), (ours.spread, theirs.spread))
    scale = max(float(np.abs(one - other).max()) for one, other in pairs) / unit
    return max(scale, float(np.abs(ours.shape - theirs.shape).max(initial=0)))
