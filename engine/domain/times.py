"""Times as the records hold them: UTC, ISO 8601, milliseconds, `Z`; in the order of their text."""

from datetime import UTC, datetime

DAY = (
    "([1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|([1-9][0-9](0[48]|[2468][048]|[13579][26])|(1[26]|[2468][048]|[3579][26])00)-02-29)"
)
"""A regular expression for the days of the calendar, from the year 1000 on: what documents say."""
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]"
MOMENT = rf"{DAY}([T ]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?(Z|[+-]{_CLOCK})?)?"
"""One for days and times. `utc` reads all of these, and some more of ISO 8601."""


def utc(text: str) -> str:
    """A date (its first moment) or an ISO 8601 time, in UTC where it names no zone.

    Raises ValueError, saying what is wanted, for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
        return written(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text[:50]!r} is neither a date such as 2026-11-01 nor a time such as "
            "2026-11-01T14:30:00Z"
        ) from error


def written(moment: datetime) -> str:
    """A moment that names its zone, as the records hold it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
