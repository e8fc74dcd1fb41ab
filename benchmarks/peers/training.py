"""Our model, trained with the documented command; kept until the code of training changes."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cli.server import ROOT

_CODE = ("engine/domain", "engine/learning", "engine/model", "engine/tables", "problems")


def train_ours(data: Path | None, cache: Path) -> Path:
    """The DATA_DIR of `python train_model.py`, with this table or the simulated market."""
    table = [] if data is None else ["--data", str(data.resolve()), "--layout", "king-county"]
    folder = cache / f"trained-{_digest(data)}"
    if not folder.exists():
        print("training our model …", file=sys.stderr)
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        _train(table, fresh)
        fresh.rename(folder)
    return folder


def _train(table: list[str], folder: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train_model.py", *table]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _digest(data: Path | None) -> str:
    files = [path for folder in _CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    found = hashlib.sha256(b"" if data is None else data.read_bytes())
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
