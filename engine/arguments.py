"""Words of a command line that are more than text; ValueError becomes argparse's own message."""

from argparse import ArgumentTypeError

from engine.domain.times import utc

HIGHEST_SEED = 2**31
MOST_ROWS = 10_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def rows(text: str) -> int:
    """A number of rows to simulate."""
    return _within(int(text), 1, MOST_ROWS)


def seed(text: str) -> int:
    return _within(int(text), 0, HIGHEST_SEED)


def positive(text: str) -> int:
    return _within(int(text), 1, MOST_ROWS)


def moment(text: str) -> str:
    """A date or an ISO 8601 time, as the records hold it."""
    try:
        return utc(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def share(text: str) -> float:
    """A share from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def seconds(text: str) -> int:
    """`90s`, `30m`, `24h` or `7d`, in seconds."""
    return _within(int(text[:-1]) * UNITS.get(text[-1:], 0), 1, 366 * UNITS["d"])


def _within(number: int, lowest: int, highest: int) -> int:
    if not lowest <= number <= highest:
        raise ValueError(number)
    return number
