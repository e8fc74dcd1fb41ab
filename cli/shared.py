"""What the commands share: how they are declared, arguments that are more than text, how they end.

An exclusion is declared beside its option, an exit code is what the command's function returns.
"""

import math
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from typing import Any

import click
from click.core import ParameterSource

from engine.assemble import card_of
from engine.domain.effort import Effort
from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.problem import Problem
from engine.domain.times import utc, written
from engine.settings import Settings, unread_names
from problems import named

FAILED, MISUSED, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143

_HIGHEST_SEED = 2**31
_MOST_ROWS = 10_000_000
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TRAINING = "pip install '.[train]' in the checkout"


_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
_MAY_BE_EMPTY = {"rollback", "target"}
"""Parameters whose empty value counts as given."""
_STARTED = re.compile(r"^(  (?:[A-Z_]+=\S+ )*)predictive\b", re.MULTILINE)
"""Where an example starts this program."""


class _Option(click.Option):
    """An option that may need others beside it, or go with none of some others.

    `needs` and `excludes` are names of parameters; `excludes` does not count where one of `unless`
    is given. `because` ends the sentence that refuses.
    """

    def __init__(
        self,
        *args: Any,
        needs: Sequence[str] = (),
        excludes: Sequence[str] = (),
        unless: Sequence[str] = (),
        because: str = "",
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.needs = needs
        self.excludes = excludes
        self.unless = unless
        self.because = because

    def refusal(self, given: set[str], flags: dict[str, str]) -> str | None:
        """Why it does not go with what else is given, if so."""
        missing = [flags[name] for name in self.needs if name not in given]
        if missing:
            return f"{flags[str(self.name)]} needs {missing[0]}: {self.because}"
        beside = [flags[name] for name in self.excludes if name in given]
        if beside and not given & set(self.unless):
            return f"{flags[str(self.name)]} cannot be used with {beside[0]}: {self.because}"
        return None


class Command(click.Command):
    """A command that ends with the exit code its function returns, None for 0; where it fails one
    line says why. `examples` are printed below its help as they are written."""

    def __init__(self, *args: Any, examples: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, _spread(self.params, args))
        source = ctx.get_parameter_source
        given = {
            name
            for name, value in ctx.params.items()
            if source(name) is ParameterSource.COMMANDLINE and (value or name in _MAY_BE_EMPTY)
        }
        flags = {str(one.name): one.opts[-1] for one in self.params}
        for one in self.params:
            if isinstance(one, _Option) and one.name in given:
                refusal = one.refusal(given, flags)
                if refusal:
                    ctx.fail(refusal)
        return rest

    def invoke(self, ctx: click.Context) -> None:
        ctx.exit(_exit_code(partial(super().invoke, ctx)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, ctx, formatter)


class _Group(click.Group):
    """Commands that share a name; `examples` as of a command."""

    command_class = Command

    def __init__(self, *args: Any, examples: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, ctx, formatter)


def _write_examples(examples: str, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """As they are typed here: `predictive` is what this process was started as."""
    started_as = ctx.find_root().command_path
    typed = _STARTED.sub(lambda found: found[1] + started_as, examples)
    formatter.write("\n" + typed if examples else "")


Function = Callable[..., Any]


def command(
    name: str | None = None, *, help: str | None = None, examples: str = ""
) -> Callable[[Function], Command]:
    """Its docstring is the help where there is no other."""
    return click.command(
        name, cls=Command, help=help, examples=examples, context_settings=_HELP_OPTIONS
    )


def group(*, examples: str) -> Callable[[Function], _Group]:
    return click.group(cls=_Group, examples=examples, context_settings=_HELP_OPTIONS)


def option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    return click.option(*names, cls=_Option, **attributes)


def flag(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    return click.option(*names, cls=_Option, is_flag=True, **attributes)


def _spread(params: Sequence[click.Parameter], args: Sequence[str]) -> list[str]:
    """`--drop a b` as `--drop a --drop b`, for options that take several values. Of an option that
    is given twice the last counts."""
    many = {flag for one in params if one.multiple for flag in one.opts}
    values: dict[str, list[str]] = {}
    others: list[str] = []
    current = None
    for word, following in zip_longest(args, args[1:], fillvalue="--"):
        if word in many:
            if following.startswith("--"):
                raise click.BadOptionUsage(word, f"Option {word!r} requires an argument.")
            current = word
            values[word] = []
        elif current is None or word.startswith("--"):
            current = None
            others.append(word)
        else:
            values[current].append(word)
    several = [word for flag, found in values.items() for one in found for word in (flag, one)]
    return [*several, *others]


def _exit_code(act: Callable[[], int | None]) -> int:
    """What `act` returns; where it fails one line says why, and a wrong setting is misuse. Warnings
    about names that are not settings are printed first."""
    try:
        for unread in unread_names():
            click.echo(f"warning: {unread}", err=True)
        return act() or 0
    except (ServiceError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return MISUSED if isinstance(error, InvalidSetting) else FAILED
    except ModuleNotFoundError as error:
        click.echo(f"error: {error.name} is not installed; {_TRAINING} installs it", err=True)
        return FAILED
    except KeyboardInterrupt:
        click.echo("error: interrupted", err=True)
        return _INTERRUPTED


def run(main: click.Command) -> None:
    """Run a command of this process; SIGTERM ends it by an exception, so that what it has begun is
    tidied up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    main()


def words_of(ctx: click.Context, *, without: str) -> Iterator[str]:
    """What was given on the command line, but for one parameter, as it can be given again."""
    for one in ctx.command.params:
        name = str(one.name)
        if name == without or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        if isinstance(one, click.Option) and one.is_flag:
            yield one.opts[-1]
        else:
            for each in value if one.multiple else (value,):
                yield f"{one.opts[-1]}={each}"


def say(text: str, style: str | None = None) -> None:
    """Print one line as it is, however wide the terminal."""
    try:
        from engine.reports.console import say as print_line
    except ModuleNotFoundError:  # rich belongs to training: what is served prints without it
        click.echo(text)
    else:
        print_line(text, style)


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds."""
    return written(datetime.now(UTC))


def options(*each: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several options as one decorator, in the order of the help."""

    def declare(function: Function) -> Function:
        for one in reversed(each):
            function = one(function)
        return function

    return declare


def problem_option(function: Function) -> Function:
    about = "The problem; default: the first one in SERVE."
    return option("--problem", help=about)(function)


def problem_of(name: str | None, settings: Settings) -> Problem:
    """A problem of ours, or one that a table declared before; without a name the first of SERVE.

    Raises InvalidSetting if there is no such problem.
    """
    return named(name or settings.serve[0], partial(card_of, settings))


class Parsed(click.ParamType[Any]):
    """Text that a function reads; its ValueError is the message."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _seconds(text: str) -> int:
    """`90s`, `30m`, `24h` or `7d`, in seconds; raises ValueError for anything else."""
    try:
        found = int(text[:-1]) * _UNITS[text[-1:]]
    except (KeyError, ValueError):
        found = 0
    if not 1 <= found <= 366 * _UNITS["d"]:
        raise ValueError(
            f"{text!r} is not a time span from 1s to 366d, such as 90s, 30m, 24h or 7d"
        )
    return found


def _share(text: str) -> float:
    """Raises ValueError for what is not from 0 to 1, NaN included."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r} is not a share from 0 to 1")
    return number


SEED = click.IntRange(0, _HIGHEST_SEED)
EFFORT = click.Choice(Effort, case_sensitive=False)
ROWS = click.IntRange(1, _MOST_ROWS)
SHARE = Parsed("share", _share)
MOMENT = Parsed("time", utc)
"""A date or an ISO 8601 time, as the records hold it."""
SPAN = Parsed("span", _seconds)
