"""A time that a person writes becomes the text the records are ordered by."""

import re
from datetime import UTC, datetime

import pytest

from engine.domain.times import utc, written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T00:00:00.000Z"),
        ("2026-11-01T14:30", "2026-11-01T14:30:00.000Z"),
        ("2026-11-01T14:30:00Z", "2026-11-01T14:30:00.000Z"),
        ("2026-11-01T00:30:00.25+02:00", "2026-10-31T22:30:00.250Z"),
        ("2026-11-01 14:30:00.123456", "2026-11-01T14:30:00.123Z"),
    ],
)
def test_a_date_or_time_is_taken_as_utc_unless_it_names_a_zone(text: str, expected: str) -> None:
    assert utc(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "01.11.2026", "0001-01-01T00:00+14:00"])
def test_nonsense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="neither a date such as 2026-11-01 nor a time such as"):
        utc(text)


def test_the_present_has_the_same_form() -> None:
    now = written(datetime.now(UTC))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now)
    assert utc(now) == now
