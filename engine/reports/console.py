"""The terminal: one console for all that is printed, and how tables and progress look there."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID
from rich.table import Table as Grid

console = Console(emoji=False)


def say(text: str, style: str | None = None) -> None:
    """One line as it is, however wide the terminal."""
    console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)


def show_grid(rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table whose first row is its head; all but the first column are figures."""
    head, *body = rows
    grid = Grid(title=title, min_width=80)
    for number, heading in enumerate(head):
        grid.add_column(heading, justify="right" if number else "left")
    for row in body:
        grid.add_row(*row)
    console.print(grid)


@contextmanager
def progress_bar(
    columns: Iterable[ProgressColumn], total: float | None = None, *, is_transient: bool = False
) -> Iterator[tuple[Progress, TaskID]]:
    """One bar while the block runs."""
    hidden = is_transient and not console.is_terminal
    with Progress(*columns, console=console, transient=is_transient, disable=hidden) as bar:
        yield bar, bar.add_task("", total=total)
