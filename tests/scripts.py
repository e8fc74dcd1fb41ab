"""A script as people run it: in a process of its own, or in this one.

A process imports everything anew, which takes longer than what most scripts are asked here.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TextIO
from unittest.mock import patch

from rich.console import Console

from engine.reports.terminal import console
from tests.servers import ROOT

Done = subprocess.CompletedProcess[str]
WIDTH = 200
"""Of the terminal, in letters: no sentence that is looked for is broken."""


def run_process(
    script: str, *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> Done:
    """What `python script.py` does, with nobody at a terminal."""
    return subprocess.run(
        [sys.executable, str(ROOT / f"{script}.py"), *arguments],
        env={**os.environ, "COLUMNS": str(WIDTH), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def run_here(
    script: ModuleType,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    answers: TextIO | None = None,
) -> Done:
    """The same by the script's `main`, in this process; `answers` is what somebody types."""
    name = f"{script.__name__}.py"
    said, complained = StringIO(), StringIO()
    with (
        chdir(folder),
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", [name, *arguments]),
        patch.object(sys, "stdin", answers or StringIO()),
        wide(console),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        try:
            code = script.main()
        except SystemExit as end:
            code = int(str(end.code))
    return Done([name, *arguments], code, said.getvalue(), complained.getvalue())


@contextmanager
def wide(terminal: Console) -> Iterator[None]:
    before, terminal.width = terminal.width, WIDTH
    try:
        yield
    finally:
        terminal.width = before
