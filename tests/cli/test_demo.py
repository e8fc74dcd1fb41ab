"""The month in a minute goes as it says: one challenger is promoted, the next one is stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import demo
from cli.server import ROOT

PROMOTED, STOPPED = demo.PROMOTED, demo.STOPPED
TRAINED = PROMOTED, "v1.1.0"
"""The release of a challenger that was trained; copies of champions are patches."""


def test_a_folder_in_which_something_is_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("of somebody's")
    with pytest.raises(SystemExit) as end:
        demo.demo.main(["--keep", str(tmp_path)])
    assert end.value.code == 2
    said = f"error: --keep: {tmp_path} is not empty; name an empty folder or a new one\n"
    assert tuple(capsys.readouterr()) == ("", said)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.load
@pytest.mark.timeout(300)
def test_a_month_sees_one_promotion_and_one_rollback_and_touches_nobody_elses_files(
    tmp_path: Path,
) -> None:
    others = tmp_path / "others"
    named = {f"{name}_URL": f"sqlite:///{others / name}.db" for name in ("RECORDS", "REGISTRY")}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--keep", str(tmp_path / "kept")],
        cwd=ROOT,
        env={**os.environ, **named, "DATA_DIR": str(others), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    events = done.stdout.partition("the history of the champion:")[2].splitlines()
    ends = [
        (event[5:24].strip(), event.partition("champion ")[2].split()[0]) for event in events[1:-1]
    ]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [action for action, now in ends if action == STOPPED or (action, now) == TRAINED] == [
        PROMOTED,
        STOPPED,
    ]
    assert (PROMOTED, "v1.0.1") in ends
    assert not others.exists()
