"""Retraining from what was served: recorded predictions whose truth became known."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.assemble import open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.ports import Records
from engine.domain.record import Record
from engine.learning.challenge import unseen
from engine.settings import Settings
from engine.tables.recorded import Gathered, Sources, gathered
from engine.tables.table import Table, check, row_hashes
from problems.housing import HOUSING, simulate
from tests.cli.test_retrain import FAILED, KEPT, PROMOTED, champion, retrain, retrain_here, sales
from tests.replies import START, houses, keep, keep_as_before, replies


@pytest.fixture
def records(settings: Settings) -> Iterator[Records]:
    with closing(open_records(settings)) as records:
        yield records


def served(settings: Settings, n: int, *, known: int, seed: int = 60, near: float = 1.0) -> None:
    """A quarter of an hour apart, n houses were asked about, and some prices became known."""
    rows, prices = houses(n, seed, near)
    truths = {f"reply-{number}": price for number, price in enumerate(prices[:known])}
    keep(settings, replies(settings, rows, minutes=15), truths)


def of(records: Records, *files: Path) -> Sources:
    return Sources(files, None, records)


def table(rows: Gathered) -> Table:
    return check(HOUSING, rows.frame, rows.source)[0]


def test_without_a_file_the_records_with_outcomes_train_the_challenger(settings: Settings) -> None:
    served(settings, 2_600, known=2_500, near=1.6)
    result = retrain_here(settings)
    last = open_stores(settings, "housing").champion.history()[-1]
    assert result.returncode == PROMOTED, result.stderr + result.stdout
    assert result.stdout.splitlines()[0] == (
        "records: 2,500 with outcomes of 2,600, predicted 2026-11-01 to 2026-11-27, "
        "known until 2026-11-20"
    )
    assert (champion(settings), last.action) == ("v1.1.0", "promoted")
    card = open_stores(settings, "housing").champion.load().card
    assert card.data["source"] == "records of 2026-11-01 to 2026-11-27"


def test_records_are_added_to_files_and_judge_as_the_newest(
    settings: Settings, artifacts: list[Artifact], records: Records
) -> None:
    served(settings, 700, known=700)
    file = Path(sales(settings.data_dir))
    both = table(gathered(HOUSING, of(records, file), major=1))
    judged = unseen(both, artifacts[0], seed=0)[1]
    assert both.times is not None
    assert both.times[judged].min() >= START.timestamp()
    assert (len(judged), len(both)) == (640, 3_200)


@pytest.mark.slow
def test_a_file_goes_without_the_records_unless_they_are_asked_for(settings: Settings) -> None:
    served(settings, 50, known=50)
    file = sales(settings.data_dir, rows=100)
    alone = retrain(settings, "--data", file)
    both = retrain(settings, "--data", file, "--with-records")
    few = "usable rows; intervals need at least 200"
    assert (alone.returncode, both.returncode) == (FAILED, KEPT)
    assert alone.stderr == f"error: sales-1.csv has 100 {few}\n"
    assert " ".join(both.stdout.split()).endswith(
        f"Keep the champion: sales-1.csv, records of 2026-11-01 to 2026-11-01 has 150 {few}; "
        "report outcomes to POST /feedback."
    )
    assert both.stdout.startswith("records: 50 with outcomes of 50, predicted 2026-11-01 to ")


@pytest.mark.parametrize(
    ("answered", "known", "code", "reason"),
    [
        (0, 0, KEPT, "records: 0 with outcomes of 0; report outcomes to POST /feedback"),
        (30, 0, KEPT, "records: 0 with outcomes of 30; report outcomes to POST /feedback"),
        (199, 199, KEPT, "has 199 usable rows; intervals need at least 200; report outcomes to"),
        (399, 399, KEPT, "80 are new to the champion and can judge (at least 200 are needed)"),
    ],
)
def test_too_few_outcomes_say_how_to_come_by_more(
    settings: Settings, answered: int, known: int, code: int, reason: str
) -> None:
    served(settings, answered, known=known)
    result = retrain_here(settings)
    printed = result.stdout.replace("\n", " ")
    assert (result.returncode, result.stderr) == (code, "")
    assert "Keep the champion: " in printed
    assert reason in printed
    assert "report outcomes to POST /feedback, or " in printed
    assert "--data FILE" in printed


def test_a_prediction_is_one_row_whoever_else_was_asked(
    settings: Settings, records: Records
) -> None:
    """A shadow, and the variant in whose place the champion answered, share the id."""
    rows, prices = houses(4, seed=3)
    answered = replies(settings, rows)
    answered[1] = replace(answered[1], variant="fallback", unit="agency 7")
    answered[2] = replace(answered[2], version="v1.1.0-rc.1", variant="canary")
    shadows = replies(settings, rows, version="v1.2.0-rc.1", variant="shadow", model="v1.0.0")
    silent = replace(answered[1], value=None, lower=None, upper=None, error="OSError: no")
    failed = replace(silent, version="v1.1.0-rc.1", variant="test")
    keep(settings, [*shadows, failed, *answered], {f"reply-{n}": prices[n] for n in range(3)})
    found = gathered(HOUSING, of(records), major=1)
    expected = pd.DataFrame(rows[:3]).assign(
        price=prices[:3], time=START.timestamp() + 60 * np.arange(3)
    )
    pd.testing.assert_frame_equal(found.frame, expected, check_dtype=False)
    assert found.summary.startswith("records: 3 with outcomes of 4, predicted 2026-11-01 to ")


def test_what_an_earlier_version_recorded_is_learned_from_with_the_rest(
    settings: Settings, records: Records
) -> None:
    rows, prices = houses(8, seed=3)
    answered: list[Record] = replies(settings, rows)
    truths = {f"reply-{n}": price for n, price in enumerate(prices)}
    keep_as_before(settings, answered[::2], dict([*truths.items()][::2]))
    keep(settings, answered[1::2], dict([*truths.items()][1::2]))
    found = gathered(HOUSING, of(records), major=1)
    expected = pd.DataFrame(rows).assign(price=prices, time=START.timestamp() + 60 * np.arange(8))
    pd.testing.assert_frame_equal(found.frame, expected, check_dtype=False)


def test_answers_under_another_contract_are_left_out(settings: Settings, records: Records) -> None:
    rows, prices = houses(5, seed=3)
    answered: list[Record] = replies(settings, rows)
    answered[:2] = [replace(record, version="v2.0.0") for record in answered[:2]]
    keep(settings, answered, {f"reply-{n}": price for n, price in enumerate(prices)})
    first, second = (gathered(HOUSING, of(records), major=major) for major in (1, 2))
    assert (len(first.frame), len(second.frame)) == (3, 2)
    assert first.summary.startswith("records: 3 with outcomes of 5")
    assert first.summary.endswith("; 2 more are of another major version")


def test_a_recorded_house_the_champion_has_learned_from_does_not_judge_it(
    settings: Settings, artifacts: list[Artifact], records: Records
) -> None:
    known_to_it, prices = houses(2_500, seed=1)
    new, new_prices = houses(300, seed=61)
    truths = {f"old-{n}": price for n, price in enumerate(prices)}
    truths |= {f"new-{n}": price for n, price in enumerate(new_prices)}
    answered = replies(settings, known_to_it, name="old", minutes=15)
    keep(settings, [*replies(settings, new, name="new"), *answered], truths)
    judges = table(gathered(HOUSING, of(records), major=1))
    judged = judges.take(unseen(judges, artifacts[0], seed=0)[1])
    seen = np.isin(row_hashes(judged), artifacts[0].seen)
    assert len(judged) >= 200
    assert not seen.any()


def test_recorded_rows_that_break_the_schema_are_set_aside(settings: Settings) -> None:
    rows, prices = houses(500, seed=3)
    answered = replies(settings, rows)
    answered[7] = replace(answered[7], row={"square_feet": 2_000.0})
    keep(settings, answered, {f"reply-{n}": price for n, price in enumerate(prices)})
    result = retrain_here(settings, "--dry-run")
    assert "1 of 500 rows set aside" in result.stdout
    report = pd.read_csv(settings.data_dir / "reports" / "rejected_rows.csv")
    assert set(report["row"]) == {8}
    assert set(report["column"]) == set(HOUSING.schema.names) - {"square_feet"}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (None, [-1, -1, -1]),
        ([20260103, 20260101, 20260102], [-1, -3, -2]),
        (["2026-10-31T23:59:00Z", "2026-11-01", "2026-11-01T00:02Z"], [-60, 0, 120]),
        (["2026-10-31T23:59:00Z", "yesterday", "2026-11-01T00:02Z"], [-60, "yesterday", 120]),
    ],
)
def test_rows_of_a_file_are_older_than_the_records_unless_dates_say_otherwise(
    settings: Settings,
    records: Records,
    times: list[int] | list[str] | None,
    expected: list[object],
) -> None:
    served(settings, 2, known=2)
    frame = pd.DataFrame(simulate(3, 5))
    file = settings.data_dir / "sales.csv"
    (frame if times is None else frame.assign(time=times)).to_csv(file, index=False)
    found = gathered(HOUSING, of(records, file), major=1).frame["time"].tolist()
    start = START.timestamp()
    assert found[3:] == [start, start + 900]
    assert [t if isinstance(t, str) else t - start for t in found[:3]] == expected


def test_a_layout_belongs_to_files(settings: Settings) -> None:
    result = retrain_here(settings, "--layout", "king-county")
    assert result.returncode == 2
    assert "--layout needs --data" in result.stderr.splitlines()[-1]
