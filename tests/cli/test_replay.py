"""Replaying the records: every answer comes out again to the last bit, or is named."""

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.replay import replay
from cli.server import ROOT
from engine.domain.artifact import Artifact
from engine.domain.record import JoinedRecord
from engine.model.model import serve
from engine.reports.comparisons import MOST_POINTS, Thinned
from engine.scoring.replay import CHUNK_ROWS, LeftOut, replayed
from engine.settings import Settings
from problems.housing import HOUSING
from tests.replies import houses, keep, keep_as_before, replies, script
from tests.scripts import started

EQUAL, DIFFERENT, FAILED, MISUSED = 0, 10, 1, 2
SINCE = ("--since", "2026-11-01")
CANDIDATE = "v1.1.0-rc.1"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    return script(replay, settings, monkeypatch, capsys)


def test_one_by_one_or_many_at_once_the_answers_are_the_same_bits(
    settings: Settings, run: Run
) -> None:
    rows, _ = houses(300, seed=3)
    keep(settings, replies(settings, rows))
    keep(settings, replies(settings, rows, version=CANDIDATE, variant="shadow"))
    keep(settings, replies(settings, rows[:50], confidence=0.8, name="narrow"))
    code, printed, complaint = run(*SINCE)
    assert (code, complaint) == (EQUAL, "")
    assert "All 650 records are computed again to the last bit." in printed
    (page,) = (settings.data_dir / "reports").glob("replay-*.html")
    assert "All 650 records" in page.read_text()
    assert "data:image/png;base64," in page.read_text()
    assert "http" not in page.read_text()


def test_an_answer_that_differs_in_its_last_bit_is_named(settings: Settings, run: Run) -> None:
    records = replies(settings, houses(100, seed=3)[0])
    upper = records[42].upper
    assert upper is not None
    records[42] = replace(records[42], upper=float(np.nextafter(upper, np.inf)))
    keep(settings, records)
    code, printed, _ = run(*SINCE)
    assert code == DIFFERENT
    found = re.search(r"1 of 100 records differ, by at most (\S+) \(relative\)", printed)
    assert found is not None
    assert 0 < float(found[1]) <= np.finfo(float).eps
    assert "v1.0.0 differs in reply-42\n" in printed


def test_a_version_that_is_gone_is_named_and_the_others_are_replayed(
    settings: Settings, run: Run
) -> None:
    records = replies(settings, houses(30, seed=3)[0])
    gone = [replace(record, version="v0.9.0") for record in records[:10]]
    keep(settings, [*gone, *records[10:]])
    code, printed, _ = run(*SINCE)
    assert code == DIFFERENT
    assert "left out: 10 records, v0.9.0: housing has no version v0.9.0" in printed
    sentence = (
        "All 20 records that could be asked are computed again to the last bit; 10 could not."
    )
    assert sentence in printed
    assert run(*SINCE, "--version", "v1.0.0")[0] == EQUAL


def test_a_version_that_is_refused_is_named(settings: Settings, run: Run) -> None:
    keep(settings, replies(settings, houses(10, seed=3)[0], version=CANDIDATE))
    file = settings.data_dir / "models" / "housing" / f"{CANDIDATE}.joblib"
    file.write_bytes(file.read_bytes()[:-1])
    code, printed, complaint = run(*SINCE)
    assert code == FAILED
    assert f"left out: 10 records, {CANDIDATE}: " in printed
    assert complaint == "error: there are no records of housing to replay\n"


def test_what_cannot_be_asked_again_is_counted_and_stops_nothing(
    settings: Settings, run: Run
) -> None:
    records = replies(settings, houses(12, seed=3)[0])
    records[0] = replace(records[0], value=None, lower=None, upper=None, error="OSError: no")
    records[1] = replace(records[1], row={**records[1].row, "garages": 2.0})
    records[2] = replace(records[2], row={"square_feet": 2_000.0})
    keep(settings, records)
    code, printed, _ = run(*SINCE)
    assert code == EQUAL
    assert "left out: 1 records, an error was recorded, and no answer" in printed
    assert "left out: 2 records, the features are not those of today's schema" in printed
    assert "All 9 records that could be asked" in printed
    assert "; 3 could not." in printed


def test_a_record_that_cannot_be_read_is_named(settings: Settings, run: Run) -> None:
    keep(settings, replies(settings, houses(2, seed=3)[0]))
    with closing(sqlite3.connect(settings.data_dir / "records.db")) as people:
        people.execute("update answers set content = '{' where id = 'reply' and first = 1")
        people.commit()
    code, _, complaint = run(*SINCE)
    assert code == FAILED
    assert complaint.startswith("error: the record reply-1 cannot be read: ")
    assert len(complaint.splitlines()) == 1


def test_records_of_an_earlier_version_are_replayed_with_the_others(
    settings: Settings, run: Run
) -> None:
    rows = houses(20, seed=3)[0]
    keep_as_before(settings, replies(settings, rows[:12]))
    assert "All 12 records" in run(*SINCE)[1]
    keep(settings, replies(settings, rows[12:], name="new"))
    code, printed, _ = run(*SINCE)
    assert (code, "All 20 records" in printed) == (EQUAL, True)


def test_a_champion_that_was_never_registered_is_replayed_from_its_file(
    settings: Settings, run: Run
) -> None:
    keep(settings, replies(settings, houses(10, seed=3)[0]))
    (settings.data_dir / "models" / "housing" / "v1.0.0.joblib").unlink()
    (settings.data_dir / "registry.db").unlink()
    assert run(*SINCE)[0] == EQUAL


def test_only_the_records_of_the_time_asked_about_are_replayed(
    settings: Settings, run: Run
) -> None:
    keep(settings, replies(settings, houses(48, seed=3)[0], minutes=60))
    for arguments, count in (
        (("--since", "2026-11-02"), 24),
        (("--since", "2026-11-01T12:00+02:00", "--until", "2026-11-01T20:00Z"), 10),
        (("--newest", "7"), 7),
    ):
        assert f"All {count} records" in run(*arguments)[1]


def test_another_version_is_compared_with_what_was_answered(
    settings: Settings, run: Run, artifacts: list[Artifact], tmp_path: Path
) -> None:
    """The figures are those computed here in the plain way; shadows and failures are no replies."""
    rows, prices = houses(400, seed=3)
    answered = replies(settings, rows)
    shadows = replies(settings, rows, version=CANDIDATE, variant="shadow")
    truths = {f"reply-{number}": prices[number] for number in range(100)}
    keep(settings, [*answered, *shadows], truths)
    code, printed, _ = run(*SINCE, "--version", CANDIDATE, "--out", str(tmp_path / "page.html"))

    old = np.array([(record.value, record.lower, record.upper) for record in answered])
    said = serve(artifacts[1], HOUSING, "now").predict(HOUSING.schema.encode(rows), 0.9)
    new = np.column_stack((said.values, said.interval.lower, said.interval.upper))
    ratio = np.abs(np.log(new[:, 0] / old[:, 0])).mean()
    agreement = ((old[:, 1] <= new[:, 0]) & (new[:, 0] <= old[:, 2])).mean()
    width = [((side[:, 2] - side[:, 1]) / side[:, 0]).mean() for side in (old, new)]
    truth = np.array(prices[:100])
    error = [np.abs(np.log(side[:100, 0] / truth)).mean() for side in (old, new)]
    hits = [((s[:100, 1] <= truth) & (truth <= s[:100, 2])).mean() for s in (old, new)]
    assert code == EQUAL
    assert figures(printed, "replies") == ["400"]
    assert figures(printed, "mean |log ratio| of the values") == [f"{ratio:.4f}"]
    assert figures(printed, "its value lies in the recorded interval") == [f"{agreement:.1%}"]
    assert figures(printed, "width of the interval / value") == [f"{w:.3f}" for w in width]
    assert figures(printed, "with an outcome") == ["100"]
    assert figures(printed, "mean |log error|") == [f"{e:.4f}" for e in error]
    assert figures(printed, "coverage (asked for 90.0%)") == [f"{h:.1%}" for h in hits]
    assert (tmp_path / "page.html").exists()


def figures(printed: str, label: str) -> list[str]:
    """The cells of the table's line that starts with this label."""
    (line,) = (line for line in printed.splitlines() if line.strip("│ ").startswith(label + " "))
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    return [cell for cell in cells[1:] if cell]


@pytest.mark.parametrize(
    ("answered_by", "asked", "verdict"),
    [
        ("worse", "v1.0.0", "it is closer to the truth"),
        ("v1.0.0", "v1.0.0", "it is as close to the truth"),
        ("better", "v1.0.0", "it is further from the truth"),
    ],
)
def test_who_was_right_is_said_only_when_outcomes_show_it(
    settings: Settings, run: Run, answered_by: str, asked: str, verdict: str
) -> None:
    rows, prices = houses(100, seed=3)
    records = replies(settings, rows)
    values = {"worse": [2 * price for price in prices], "better": prices}.get(answered_by)
    if values is not None:
        records = [replace(r, value=v) for r, v in zip(records, values, strict=True)]
    keep(settings, records, {f"reply-{number}": price for number, price in enumerate(prices)})
    assert verdict in run(*SINCE, "--version", asked)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), MISUSED, "pass --since TIME or --newest N to choose"),
        (
            ("--since", "soon"),
            MISUSED,
            "'--since': 'soon' is neither a date such as 2026-11-01",
        ),
        ((*SINCE, "--until", "2026-10-01"), MISUSED, "--until must be later than --since"),
        (("--newest", "0"), MISUSED, "Invalid value for '--newest': 0 is not in the range"),
        ((*SINCE, "--problem", "weather"), MISUSED, "error: no problem weather ("),
        ((*SINCE, "--version", "v7.0.0"), FAILED, "housing has no version v7.0.0"),
        ((*SINCE, "--version", "best"), FAILED, "'best' is not a version such as v1.2.3"),
        (SINCE, FAILED, "there are no records of housing to replay"),
    ],
)
def test_wrong_arguments_say_so_in_the_last_line(
    run: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    found, _, complaint = run(*arguments)
    assert found == code
    assert reason in complaint.splitlines()[-1]


def test_no_more_than_a_chunk_of_records_is_held_at_a_time(
    settings: Settings, artifacts: list[Artifact]
) -> None:
    (record,) = replies(settings, [HOUSING.schema.example])
    read = 0

    def endless() -> Iterator[JoinedRecord]:
        nonlocal read
        while True:
            read += 1
            yield JoinedRecord(record, None)

    model = serve(artifacts[0], HOUSING, "now")
    parts = replayed(
        endless(), HOUSING.schema, lambda version: model, version=None, left_out=LeftOut()
    )
    for number in (1, 2):
        assert next(parts).equal.all()
        assert read == number * CHUNK_ROWS


def test_a_picture_shows_evenly_spaced_points_of_any_number_of_rows() -> None:
    sample = Thinned(columns=1)
    for start in range(0, 31_000, 310):
        sample.add(np.arange(start, start + 310, dtype=float)[:, None])
    assert MOST_POINTS / 2 < len(sample.rows) <= MOST_POINTS
    assert set(np.diff(sample.rows[:, 0])) == {8.0}


def test_help_shows_examples_and_exit_codes() -> None:
    result = subprocess.run(
        [*started("replay"), "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "python -m cli replay --since 2026-11-01 --version v1.1.0" in result.stdout
    assert "10 some differ" in result.stdout
