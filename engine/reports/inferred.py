"""What was inferred from somebody's table, as a person is asked to accept it."""

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table as Grid

from engine.domain.columns import ByColumnType, Column
from engine.reports.console import console
from engine.reports.kinds import SHOWN
from engine.tables.infer import GROUP, Inferred

_SHOWN_CATEGORIES = 4


def ask(question: str) -> str:
    """The answer as one word in lower case; empty where the input ends."""
    try:
        return console.input(question, markup=False).strip().lower()
    except EOFError:
        return ""


def show_inferred(inferred: Inferred, title: str) -> None:
    grid = Grid(title=title, min_width=80)
    for heading in ("column", "is", "from - to", "has gaps", "example"):
        grid.add_column(heading)
    for column in inferred.schema.columns:
        grid.add_row(*map(escape, _described(column)))
    console.print(grid)
    aim = SHOWN[inferred.target.kind].aim(inferred.target)
    console.print(f"predicts {inferred.target.name}: {aim}", markup=False)
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


def _described(column: Column) -> tuple[str, ...]:
    what, seen, example = _DESCRIPTIONS[column.type](column)
    return column.name, what, seen, "yes" if column.may_be_missing else "no", example


def _of_number(column: Column) -> tuple[str, str, str]:
    kind = "whole number" if column.is_whole else "number"
    return kind, f"{column.low:g} - {column.high:g}", f"{column.example:g}"


def _of_category(column: Column) -> tuple[str, str, str]:
    first = ", ".join(column.categories[:_SHOWN_CATEGORIES])
    more = len(column.categories) - _SHOWN_CATEGORIES
    return "category", f"{first} and {more} more" if more > 0 else first, str(column.example)


_DESCRIPTIONS: ByColumnType[Callable[[Column], tuple[str, str, str]]] = ByColumnType(
    number=_of_number, category=_of_category
)
