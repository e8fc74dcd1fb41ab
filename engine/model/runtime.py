"""A model's trees as one ONNX graph, asked through ONNX Runtime on one thread."""

import onnxruntime as ort

from engine.domain.conformal import Outputs
from engine.domain.errors import UntrustedArtifact
from engine.domain.schema import Matrix


class CompiledModel:
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
    return CompiledModel(graph).outputs(rows)
