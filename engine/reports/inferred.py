"""What was inferred from somebody's table, as a person is asked to accept it."""

from rich.markup import escape
from rich.table import Table as Grid

from engine.domain.schema import BINARY, POSITIVE, Column, Number, Target
from engine.reports.console import console
from engine.tables.infer import GROUP, Inferred

SHOWN_CATEGORIES = 4


def ask(question: str) -> str:
    """One word in small letters; none where the input ends."""
    try:
        return console.input(question, markup=False).strip().lower()
    except EOFError:
        return ""


def show_inferred(inferred: Inferred, title: str) -> None:
    grid = Grid(title=title, min_width=80)
    for heading in ("column", "is", "from - to", "has gaps", "example"):
        grid.add_column(heading)
    for column in inferred.schema.columns:
        grid.add_row(*map(escape, described(column)))
    console.print(grid)
    console.print(f"predicts {inferred.target.name}: {aim(inferred.target)}", markup=False)
    if GROUP in inferred.ignored:
        console.print(f"{GROUP}: no feature, it keeps rows together")
    if inferred.order:
        is_feature = set(inferred.order) & set(inferred.schema.names)
        what = "" if is_feature else "no feature, "
        console.print(
            f"{', '.join(inferred.order)}: {what}orders the rows, and the newest judge "
            "(--no-time: they have no order)",
            markup=False,
        )
    for warning in inferred.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def described(column: Column) -> tuple[str, ...]:
    missing = "yes" if column.may_be_missing else "no"
    if isinstance(column, Number):
        kind = "whole number" if column.is_whole else "number"
        seen = f"{column.low:g} - {column.high:g}"
        return column.name, kind, seen, missing, f"{column.example:g}"
    first = ", ".join(column.categories[:SHOWN_CATEGORIES])
    more = len(column.categories) - SHOWN_CATEGORIES
    seen = f"{first} and {more} more" if more > 0 else first
    return column.name, "category", seen, missing, column.example


def aim(target: Target) -> str:
    """What kind of target it is, in words."""
    if target.kind == BINARY:
        happens, other = ("1", "0") if target.labels is None else target.labels[::-1]
        swap = "" if target.labels is None else " (--positive swaps them)"
        return f"the probability of {happens!r}, not {other!r}{swap}"
    if target.kind == POSITIVE:
        return "a positive number, judged by its ratio to the truth"
    return "a number, judged by its distance from the truth"
