"""Every adapter behind the port `Records` keeps the same promises."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from engine.domain.errors import OutcomeConflict, UnknownPrediction
from engine.domain.ports import Records
from engine.domain.record import JoinedRecord, Outcome, Record, RecordBlock, RecordQuery
from engine.stores.memory_records import MemoryRecords
from engine.stores.records import MOST_ROWS, SqlRecords
from tests.blocks import put

ALL = RecordQuery("housing")
ROW = {"square_feet": 2000.0, "distance_to_city": 0.1}
NOW = "2026-02-01T00:00:00.000Z"


@pytest.fixture(params=["memory", "postgresql", "sqlite"])
def records(request: pytest.FixtureRequest) -> Iterator[Records]:
    url = "" if request.param == "memory" else request.getfixturevalue(request.param)
    with closing(SqlRecords(url) if url else MemoryRecords()) as records:
        yield records


def record(id_: str, minute: int = 0, **changes: Any) -> Record:
    """The only row of a block."""
    made = Record(
        id=f"{id_}-0",
        at=f"2026-01-01T00:{minute:02}:00.000Z",
        problem="housing",
        version="v1.0.0",
        variant="champion",
        row=ROW,
        value=403_097.19,
        lower=1 / 3,
        upper=5e5,
        level=0.9,
        request_id="request",
    )
    return replace(made, **changes)


@dataclass
class Answers:
    """Answers whose records these are."""

    kept: list[Record]

    def __len__(self) -> int:
        return len(self.kept)

    def blocks(self) -> list[RecordBlock]:
        return [RecordBlock.of(one) for one in self.kept]


def outcome(id_: str, actual: float = 1.0, known_at: str = NOW) -> Outcome:
    return Outcome(f"{id_}-0", actual, known_at)


def read(records: Records, **limits: Any) -> list[JoinedRecord]:
    return list(records.read(replace(ALL, **limits)))


def ids(records: Records, **limits: Any) -> list[str]:
    """Of the blocks."""
    return [joined.record.id.removesuffix("-0") for joined in read(records, **limits)]


def test_what_was_appended_is_read(records: Records) -> None:
    whole = record("a", caller="naïve — ü", unit="用户\t7", latency_us=33.3, error="none 🏠")
    bare = record("b", 1, value=None, lower=None, upper=None, row={}, request_id="")
    put(records, [whole, bare])
    assert read(records) == [JoinedRecord(whole, None), JoinedRecord(bare, None)]


def test_numbers_come_back_exactly(records: Records) -> None:
    drawn = np.frombuffer(np.random.default_rng(1).bytes(8 * 600), dtype=np.float64)
    edges = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1 + 0.2, 3]
    numbers = [*drawn[np.isfinite(drawn)].tolist(), *edges]
    kept = [record(f"{n:04}", row={"x": x}, value=x) for n, x in enumerate(numbers)]
    put(records, kept)
    said = [outcome(f"{n:04}", x) for n, x in enumerate(numbers)]
    records.label("housing", said)
    assert read(records) == [JoinedRecord(one, true) for one, true in zip(kept, said, strict=True)]


def test_records_come_in_the_order_of_time_then_id_then_version(records: Records) -> None:
    early = [record(id_) for id_ in ("-", "B", "Z-1", "_", "a", "ä")]
    late = [record("A", 1, version=version) for version in ("v1.0.0", "v1.1.0-rc.1")]
    put(records, [*reversed(late), *reversed(early)])
    assert [joined.record for joined in read(records)] == [*early, *late]


def test_a_question_names_problem_and_time(records: Records) -> None:
    put(records, [record("a"), record("b", 1), record("c", 2)])
    put(records, [record("d", 1, problem="churn")])
    assert ids(records) == ["a", "b", "c"]
    assert ids(records, since="2026-01-01T00:01:00.000Z") == ["b", "c"]
    assert ids(records, until="2026-01-01T00:01:00.000Z") == ["a"]


def test_the_newest_come_in_the_order_of_time_all_the_same(records: Records) -> None:
    put(records, [record(id_, minute) for minute, id_ in enumerate("abcd")])
    assert ids(records, newest=2) == ["c", "d"]
    assert ids(records, newest=2, until="2026-01-01T00:02:00.000Z") == ["a", "b"]
    assert ids(records, newest=0) == []
    assert ids(records, newest=9) == ["a", "b", "c", "d"]


def test_the_newest_with_an_outcome_are_counted_among_those(records: Records) -> None:
    put(records, [record(id_, minute) for minute, id_ in enumerate("abcd")])
    put(records, [record("x", 9, problem="churn"), record("c", 2, version="v1.1.0")])
    records.label("housing", [outcome("a"), outcome("b"), outcome("c")])
    records.label("churn", [outcome("x")])
    known = {"with_outcome": True}
    assert ids(records, **known) == ["a", "b", "c", "c"]
    assert ids(records, **known, newest=3) == ["b", "c", "c"]
    assert ids(records, **known, newest=9, since="2026-01-01T00:01:00.000Z") == ["b", "c", "c"]
    assert ids(records, **known, newest=9, until="2026-01-01T00:02:00.000Z") == ["a", "b"]
    assert ids(records, **known, newest=2, until="2026-01-01T00:02:00.000Z") == ["b"]
    assert ids(records, **known, newest=0) == []
    assert [one.outcome for one in read(records, **known, newest=1)] == [outcome("c")]


def test_without_rows_only_the_units_that_are_not_named_have_features(records: Records) -> None:
    put(records, [record("a", unit="user 7"), record("b", 1), record("c", 2, unit="")])
    assert [one.record.row for one in read(records, with_rows=False)] == [{}, ROW, {}]
    assert [one.record.row for one in read(records)] == [ROW] * 3


def test_one_outcome_is_joined_to_every_version_that_was_asked(records: Records) -> None:
    put(records, [record("a"), record("a", 1, version="v1.1.0", variant="shadow")])
    assert records.label("housing", [outcome("a", 2.5)]) == 1
    assert [joined.outcome for joined in read(records)] == [outcome("a", 2.5)] * 2


def test_appending_again_changes_nothing(records: Records) -> None:
    put(records, [record("a"), record("a", value=1.0)])
    put(records, [record("a", 1, value=2.0), record("b", 2)])
    assert [joined.record for joined in read(records)] == [record("a"), record("b", 2)]


def test_more_rows_than_a_statement_holds_are_kept_and_labelled(records: Records) -> None:
    many = [record(f"{number:05}") for number in range(2 * MOST_ROWS + 1)]
    put(records, many)
    assert records.label("housing", [Outcome(one.id, 1.0, NOW) for one in many]) == len(many)
    assert [joined.outcome for joined in read(records)] == [
        Outcome(one.id, 1.0, NOW) for one in many
    ]


def test_an_outcome_reported_again_is_not_counted_and_keeps_its_time(records: Records) -> None:
    put(records, [record("a"), record("b")])
    assert records.label("housing", [outcome("a")]) == 1
    later = "2026-03-01T00:00:00.000Z"
    again = [outcome("a", known_at=later), outcome("b"), outcome("b", known_at=later)]
    assert records.label("housing", again) == 1
    assert [joined.outcome for joined in read(records)] == [outcome("a"), outcome("b")]


def test_an_unknown_prediction_is_named_with_its_row_and_nothing_is_kept(records: Records) -> None:
    put(records, [record("a"), record("other", problem="churn")])
    said = [outcome(id_) for id_ in ("a", "x", "other", "nul\0", "half\ud800", "y" * 999)]
    with pytest.raises(UnknownPrediction) as refusal:
        records.label("housing", said)
    message = str(refusal.value)
    assert "'x-0' (row 1), 'other-0' (row 2), 'nul\\x00-0' (row 3) and 2 more" in message
    assert "5 of 6" in message
    assert ids(records, with_outcome=True) == []
    with pytest.raises(UnknownPrediction) as refusal:
        records.label("housing", said[5:])
    assert len(str(refusal.value)) < 200


def test_another_actual_is_a_conflict_and_nothing_is_kept(records: Records) -> None:
    put(records, [record("a"), record("b")])
    records.label("housing", [outcome("a", 1.0)])
    with pytest.raises(OutcomeConflict, match=r"'a-0' \(row 1\); 1 of 2") as refusal:
        records.label("housing", [outcome("b", 5.0), outcome("a", 1.5)])
    assert "1.5" not in str(refusal.value)
    assert [joined.outcome for joined in read(records)] == [outcome("a", 1.0), None]


def test_two_actuals_in_one_report_are_a_conflict(records: Records) -> None:
    put(records, [record("a")])
    with pytest.raises(OutcomeConflict, match=r"'a-0' \(row 2\)"):
        records.label("housing", [outcome("a", 1.0), outcome("a", 1.0), outcome("a", 2.0)])
    assert ids(records, with_outcome=True) == []


def test_of_many_who_report_different_values_exactly_one_wins(records: Records) -> None:
    put(records, [record("a"), record("b")])

    def attempt(number: int) -> bool:
        said = [outcome("a", float(number)), outcome("b", float(number))]
        try:
            records.label("housing", said if number % 2 else said[::-1])
        except OutcomeConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(attempt, range(24)))
    assert sum(wins) == 1
    found = [joined.outcome for joined in read(records)]
    assert found == [outcome(id_, float(wins.index(True))) for id_ in ("a", "b")]


def test_a_reader_sees_one_moment_while_others_write(records: Records) -> None:
    put(records, [record(f"{number:04}", number % 60) for number in range(3_000)])
    seen = records.read(ALL)
    first = next(seen)
    put(records, [record("new", 59)])
    assert records.forget("2026-01-01T00:01:00.000Z", 9_999) == 50
    assert len([first, *seen]) == 3_000
    assert len(read(records)) == 2_951


def test_readers_who_stop_early_leave_nothing_behind(records: Records) -> None:
    put(records, [record("a"), record("b")])
    assert [next(records.read(ALL)).record.id for _ in range(40)] == ["a-0"] * 40


def test_what_many_threads_append_is_all_there(records: Records) -> None:
    def append(thread: int) -> None:
        for number in range(20):
            put(records, [record(f"{thread}-{number}-{row}") for row in range(3)])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(6)))
    assert len(read(records)) == 6 * 20 * 3


def test_the_oldest_are_forgotten_first_and_those_at_the_limit_stay(records: Records) -> None:
    put(records, [record(id_, minute) for minute, id_ in enumerate("dcba")])
    put(records, [record("e", 1, problem="churn")])
    before = "2026-01-01T00:03:00.000Z"
    assert records.forget(before, 2) == 2
    assert ids(records) == ["b", "a"]
    assert [records.forget(before, 2), records.forget(before, 2)] == [2, 0]
    assert ids(records) == ["a"]


def test_two_versions_of_a_prediction_are_two_records_to_forget(records: Records) -> None:
    put(records, [record("a", version=version) for version in ("v1.0.0", "v1.1.0")])
    assert records.forget("2030", 1) == 1
    assert [joined.record.version for joined in read(records)] == ["v1.1.0"]


def test_an_outcome_is_forgotten_with_the_last_record_of_its_prediction(records: Records) -> None:
    put(records, [record("a"), record("a", 1, version="v2.0.0"), record("b")])
    records.label("housing", [outcome("a"), outcome("b")])
    records.forget("2026-01-01T00:01:00.000Z", 99)
    assert read(records) == [JoinedRecord(record("a", 1, version="v2.0.0"), outcome("a"))]
    records.forget("2026-01-01T00:02:00.000Z", 99)
    put(records, [record("a"), record("b")])
    assert read(records) == [JoinedRecord(record("a"), None), JoinedRecord(record("b"), None)]


def test_where_nothing_was_appended_there_is_nothing(records: Records) -> None:
    assert read(records, newest=3) == []
    assert records.forget(NOW, 99) == 0
    assert records.label("housing", []) == 0
    with pytest.raises(UnknownPrediction):
        records.label("housing", [outcome("a")])


def test_after_closing_it_opens_again_when_asked(records: Records) -> None:
    put(records, [record("a")])
    records.close()
    assert ids(records) == ["a"]
