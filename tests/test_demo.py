"""The month in a minute goes as it says: one challenger is promoted, the next one is stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.load
def test_a_month_sees_one_promotion_and_one_rollback_and_touches_nobody_elses_files(
    tmp_path: Path,
) -> None:
    others = tmp_path / "others"
    named = {f"{name}_URL": f"sqlite:///{others / name}.db" for name in ("RECORDS", "REGISTRY")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo.py"), "--keep", str(tmp_path / "kept")],
        cwd=ROOT,
        env={**os.environ, **named, "DATA_DIR": str(others), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    events = done.stdout.partition("the history of the champion:")[2].splitlines()
    actions = [event[5:24].strip() for event in events]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [a for a in actions if a in {"promoted", "rollout stopped"}] == [
        "promoted",
        "rollout stopped",
    ]
    assert not others.exists()
