"""Times as the records hold them: UTC, ISO 8601, milliseconds, `Z`; in the order of their text."""

from datetime import UTC, datetime


def utc(text: str) -> str:
    """A date (its first moment) or an ISO 8601 time, in UTC where it names no zone.

    Raises ValueError, saying what is wanted, for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
        return written(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text[:50]!r} is no date such as 2026-11-01 and no time such as 2026-11-01T14:30:00Z"
        ) from error


def written(moment: datetime) -> str:
    """A moment that names its zone, as the records hold it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
