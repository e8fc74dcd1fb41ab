"""The model servers that a user could pick, set up as their documentation shows for scikit-learn.

MLflow is given arrays, which are quicker than frames. MLServer infers in the process that answers
(`parallel_workers: 0`), because its separate process does not start with these pins.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.faces import Face
from benchmarks.peers.processes import Command
from cli.server import free_port
from engine.domain.schema import Matrix

_SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Framework:
    """`command` is given the bin folder of its environment, a folder of its own beside the models,
    and a port."""

    name: str
    face: Face
    command: Callable[[Path, Path, int], Command]

    @property
    def requirements(self) -> Path:
        return Path(__file__).parent / "requirements" / f"{self.name}.txt"


def _mlserver(home: Path, folder: Path, port: int) -> Command:
    shutil.copy(folder.parent / "model.joblib", folder)
    server = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port()}
    server |= {"metrics_port": free_port(), "parallel_workers": 0, "debug": False}
    uri = {"uri": "./model.joblib", "version": "v1"}
    model = {"name": "house", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": uri}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return Command((str(home / "mlserver"), "start", "."), folder)


def _tensor(rows: Matrix) -> Any:
    one = {"name": "predict", "shape": rows.shape, "datatype": "FP64", "data": rows.ravel()}
    return {"inputs": [one]}


def _bentoml(home: Path, folder: Path, port: int) -> Command:
    shutil.copy(_SERVERS / "serve_bentoml.py", folder)
    words = (str(home / "bentoml"), "serve", "serve_bentoml:House")
    options = ("--host", "127.0.0.1", "--port", str(port))
    env = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "home")}
    return Command((*words, *options), folder, {**env, **_model(folder)})


def _litserve(home: Path, folder: Path, port: int) -> Command:
    script = str(_SERVERS / "serve_litserve.py")
    return Command((str(home / "python"), script, str(port)), folder, _model(folder))


def _mlflow(home: Path, folder: Path, port: int) -> Command:
    if not (folder / "model").exists():
        words = [str(home / "python"), str(_SERVERS / "save_mlflow.py")]
        env = {**os.environ, **_model(folder)}
        done = subprocess.run(
            words, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"the model cannot be saved: {done.stderr.strip()[-500:]}")
    words = [str(home / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return Command(tuple(words), folder, {"MLFLOW_DISABLE_TELEMETRY": "true"})


def _ray(home: Path, folder: Path, port: int) -> Command:
    script = str(_SERVERS / "serve_ray.py")
    env = {"RAY_USAGE_STATS_ENABLED": "0", **_model(folder)}
    return Command((str(home / "python"), script, str(port)), folder, env)


def _model(folder: Path) -> dict[str, str]:
    return {"MODEL": str(folder.parent / "model.joblib")}


def _face(body: str, path: str, encode: Callable[[Matrix], Any], key: str) -> Face:
    return Face(body, lambda rows: path, encode, lambda reply: list(reply[key]))


def _rows(rows: Matrix) -> Any:
    return {"rows": rows}


def _inputs(rows: Matrix) -> Any:
    return {"inputs": rows}


_TENSOR = Face(
    "tensor",
    lambda rows: "/v2/models/house/infer",
    _tensor,
    lambda reply: list(reply["outputs"][0]["data"]),
)
_BENTOML = Face("rows", lambda rows: "/predict", _rows, list)

FRAMEWORKS = (
    Framework("mlserver", _TENSOR, _mlserver),
    Framework("bentoml", _BENTOML, _bentoml),
    Framework("litserve", _face("rows", "/predict", _rows, "prices"), _litserve),
    Framework("mlflow", _face("inputs", "/invocations", _inputs, "predictions"), _mlflow),
    Framework("ray", _face("rows", "/predict", _rows, "prices"), _ray),
)
