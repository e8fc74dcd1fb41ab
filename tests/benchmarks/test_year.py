"""A year of bike rentals, outcome by outcome: intervals go on to hold while the world changes."""

import subprocess
import sys

import pytest

from cli.server import ROOT

BIKES = ROOT.parent / "shared" / "data" / "tables" / "kaggle_bike_train.csv"


@pytest.mark.slow
@pytest.mark.skipif(not BIKES.exists(), reason="the public tables are not beside this checkout")
def test_every_stretch_of_the_year_is_covered_and_equal_copies_replace_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.year", "--recalibrate", "--years", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every 290 outcomes cover at least 75%: yes" in done.stdout
