"""What the commands share: words that are more than text, and how a failure ends.

A ValueError of such a word becomes argparse's own message.
"""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable

from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.times import utc

FAILED, MISUSED, INTERRUPTED = 1, 2, 130

HIGHEST_SEED = 2**31
MOST_ROWS = 10_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def exit_code(act: Callable[[], int]) -> int:
    """What `act` returns; where it fails one line says why, and a wrong setting is misuse."""
    try:
        return act()
    except (ServiceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return MISUSED if isinstance(error, InvalidSetting) else FAILED
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED


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
