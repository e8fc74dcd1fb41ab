"""A model's trees as one ONNX graph, asked through ONNX Runtime on one thread."""

from collections.abc import Callable
from functools import partial

import onnxruntime as ort

from engine.domain.conformal import Calibration, Outputs
from engine.domain.errors import UntrustedArtifact
from engine.domain.prediction import Interval
from engine.domain.schema import Matrix, Vector
from engine.domain.venn_abers import VennAbers

Predict = Callable[[float], tuple[Vector, Interval]]
"""Confidence to values and interval, for rows that were asked about."""


class _CompiledModel:
    """What the graph says of every row, from float64 rows.

    One thread: a request is a few rows, where handing work to a pool costs more than the work.
    """

    def __init__(self, graph: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = ort.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as error:
            raise UntrustedArtifact(f"ONNX Runtime refuses the graph: {error}") from error

    def outputs(self, rows: Matrix) -> Outputs:
        """Ask about (n, features) rows."""
        return Outputs.of(*self._session.run(None, {"rows": rows}))


def run(graph: bytes, rows: Matrix) -> Outputs:
    """Ask a graph once about (n, features) rows."""
    return _CompiledModel(graph).outputs(rows)


class Predictor:
    """A compiled model with its calibration: the one way from rows to values and intervals, for
    serving, evaluation, the gate, golden rows, reports and replay."""

    def __init__(self, graph: bytes, calibration: Calibration | VennAbers) -> None:
        self.calibration = calibration
        self._model = _CompiledModel(graph)

    def asked(self, rows: Matrix) -> Predict:
        """Ask about (n, features) rows once, for any number of confidences."""
        return partial(self.calibration.predict, self._model.outputs(rows))

    def predict(self, rows: Matrix, confidence: float) -> tuple[Vector, Interval]:
        """Values and intervals, (n,) each, in the target's unit.

        Raises UnsupportedConfidence for a level the calibration rows cannot vouch for.
        """
        return self.calibration.predict(self._model.outputs(rows), confidence)

    def predict_widely(self, rows: Matrix, confidence: float) -> tuple[Vector, Interval]:
        """The same, (n,) each in the target's unit, with bounds that cover whatever the features
        are."""
        outputs = self._model.outputs(rows)
        return self.calibration.values(outputs), self.calibration.widest(outputs, confidence)
