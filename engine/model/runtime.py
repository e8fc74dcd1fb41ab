"""A model's trees, asked as bit masks, or through ONNX Runtime where masks would be too large.

Both give the same answers to the last bit.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from engine.domain.conformal import Calibration, Outputs
from engine.domain.errors import UntrustedArtifact
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers
from engine.model.bitmasks import compile_masks
from engine.model.ensemble import read_trees

Predict = Callable[[float], tuple[Vector, Interval]]
"""Confidence to values and interval, for rows that were asked about."""


class _CompiledTrees(Protocol):
    """What a model's trees say of every row, from float64 rows."""

    def outputs(self, rows: Matrix) -> Outputs:
        """Ask about (n, features) rows."""


class OnnxTrees:
    """One thread: a request is a few rows, where handing work to a pool costs more than the work.

    Raises UntrustedArtifact for a graph that ONNX Runtime refuses.
    """

    def __init__(self, graph: bytes) -> None:
        import onnxruntime  # takes 30 MB, and most models do without

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as error:
            raise UntrustedArtifact(f"ONNX Runtime refuses the graph: {error}") from error

    def outputs(self, rows: Matrix) -> Outputs:
        return Outputs.of(*self._session.run(None, {"rows": rows}))


def compile_trees(graph: bytes) -> _CompiledTrees:
    """Raises UntrustedArtifact for a graph that cannot be asked."""
    try:
        return compile_masks(read_trees(graph))
    except (ValueError, LookupError, TypeError):  # ONNX Runtime may know what to do with it
        return OnnxTrees(graph)


def run(graph: bytes, rows: Matrix) -> Outputs:
    """Ask a graph once about (n, features) rows."""
    return compile_trees(graph).outputs(rows)


class Predictor:
    """A compiled model with its calibration: the one way from rows to values and intervals, for
    serving, evaluation, the gate, golden rows, reports and replay."""

    def __init__(self, graph: bytes, calibration: Calibration | VennAbers) -> None:
        self.calibration = calibration
        self._trees = compile_trees(graph)

    def asked(self, rows: Matrix) -> Predict:
        """Ask about (n, features) rows once, for any number of confidences."""
        return partial(self.calibration.predict, self._trees.outputs(rows))

    def predict(self, rows: Matrix, confidence: float) -> tuple[Vector, Interval]:
        """Values and intervals, (n,) each, in the target's unit.

        Raises UnsupportedConfidence for a level the calibration rows cannot vouch for.
        """
        return self.calibration.predict(self._trees.outputs(rows), confidence)

    def predict_widely(self, rows: Matrix, confidence: float) -> tuple[Vector, Interval]:
        """The same, (n,) each in the target's unit, with bounds that cover whatever the features
        are."""
        outputs = self._trees.outputs(rows)
        return self.calibration.values(outputs), self.calibration.widest(outputs, confidence)
