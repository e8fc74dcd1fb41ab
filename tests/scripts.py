"""A script as people run it: in a process of its own, or in this one.

A process imports everything anew, which takes longer than what most scripts are asked here.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

import click
import pytest
from rich.console import Console

from cli.__main__ import predictive
from cli.server import ROOT
from engine.reports.console import console

FILES = ("train_model", "retrain")
Done = subprocess.CompletedProcess[str]
WIDTH = 200
"""Of the terminal, in letters: no sentence that is looked for is broken."""


def run_process(
    script: str, *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> Done:
    """What `python script.py` or `python -m cli script` does, with nobody at a terminal."""
    return subprocess.run(
        [*started(script), *arguments],
        env={**os.environ, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def started(script: str) -> list[str]:
    """The words that start it."""
    if script in FILES:
        return [sys.executable, str(ROOT / f"{script}.py")]
    return [sys.executable, "-m", "cli", script]


def run_here(
    script: click.Command,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    answers: TextIO | None = None,
) -> Done:
    """The same in this process; `answers` is what somebody types."""
    said, complained = StringIO(), StringIO()
    with (
        chdir(folder),
        patch.dict(os.environ, environment),
        patch.object(sys, "stdin", answers or StringIO()),
        wide(console),
        redirect_stdout(said),
        redirect_stderr(complained),
        pytest.raises(SystemExit) as end,
    ):
        through_group(script, arguments)
    return Done(arguments, int(str(end.value.code)), said.getvalue(), complained.getvalue())


def through_group(command: click.Command, arguments: Sequence[str]) -> None:
    """As `predictive command` runs it; always raises SystemExit."""
    name = str(command.name)
    if predictive.commands.get(name) is command:
        predictive.main([name, *arguments], "predictive")
    command.main(arguments, name)


@contextmanager
def wide(terminal: Console) -> Iterator[None]:
    before, terminal.width = terminal.width, WIDTH
    try:
        yield
    finally:
        terminal.width = before
