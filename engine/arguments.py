"""What the commands share: how they are declared, words that are more than text, and how they end.

A ValueError of such a word becomes argparse's own message.
"""

import signal
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any

from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.times import utc
from engine.settings import unread_names

FAILED, MISUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143

HIGHEST_SEED = 2**31
MOST_ROWS = 10_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parser_of(doc: str | None, examples: str) -> ArgumentParser:
    """The parser of a script with this docstring; no option goes by a part of its name."""
    return ArgumentParser(
        description=doc,
        epilog=examples,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def command_of(commands: Any, name: str, act: Callable[..., object], examples: str) -> Any:
    """The parser of one of a script's commands: what `act` promises, and its first example."""
    about = " ".join(str(act.__doc__).split())
    example = next(line.strip() for line in examples.splitlines() if f" {name} " in f"{line} ")
    parser = commands.add_parser(
        name, help=about, description=about, epilog=f"example: {example}", allow_abbrev=False
    )
    parser.set_defaults(act=act)
    return parser


def add_problem(parser: ArgumentParser, *commands: ArgumentParser) -> None:
    """`--problem`, before the name of a command as well as after it."""
    about = "what is predicted; default: the first of SERVE"
    parser.add_argument("--problem", help=about)
    for command in commands:
        command.add_argument("--problem", default=SUPPRESS, help=about)


def unwind_when_terminated() -> None:
    """SIGTERM ends the script by an exception, so that what it has begun is tidied up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


def exit_code(act: Callable[[], int]) -> int:
    """What `act` returns; where it fails one line says why, and a wrong setting is misuse. Names
    that nobody reads are told before."""
    try:
        for unread in unread_names():
            print(f"warning: {unread}", file=sys.stderr)  # noqa: T201
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
