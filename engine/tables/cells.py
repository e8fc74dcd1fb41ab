"""What the columns of a table say: numbers, names, events and times, and which rules they break.

Each cell is read by `engine.domain.cells`, as a service reads it; a column that pandas holds as
numbers is one already.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.domain import cells as one
from engine.domain.columns import ByColumnType, Column
from engine.domain.kinds import ByKind
from engine.domain.schema import Target

_SHOWN = 80
"""Characters of a cell that a report shows."""
_EVENTS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


_Rules = Iterator[tuple["pd.Series[Any]", str]]


@dataclass(frozen=True)
class _Reading:
    """How the cells of a column or a target are read: `values` gives numbers (an event is one) or
    names of categories, `must_be` says what a cell must be, and `broken` which of the values break
    a rule (of several rules the last is told)."""

    values: Callable[["pd.Series[Any]"], "pd.Series[Any]"]
    must_be: str
    broken: Callable[["pd.Series[Any]"], _Rules]


def reading_of(column: Column) -> _Reading:
    return _COLUMNS[column.type](column)


def reading_of_target(target: Target) -> _Reading:
    return _TARGETS[target.kind](target)


def read(cells: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    """A column's cells as what it declares."""
    return reading_of(column).values(cells)


def _numbers_between(column: Column | Target) -> _Reading:
    return _Reading(as_numbers, "must be a number", partial(_broken_rules, column))


def _names_of_categories(column: Column) -> _Reading:
    def values(cells: "pd.Series[Any]") -> "pd.Series[Any]":
        return pd.Series([*map(column.read, _plain(cells))], index=cells.index, dtype=object)

    return _Reading(values, "must be a name", lambda names: iter(()))


def _events_named(target: Target) -> _Reading:
    labels = target.labels
    words = "0 or 1" if labels is None else f"{' or '.join(labels)}, or 0 or 1"
    return _Reading(
        partial(_as_events, labels=labels), f"must be {words}", partial(_broken_rules, target)
    )


def as_numbers(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers (n,), and NaN for what is not a number."""
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.astype(float)
    numbers = np.array([*map(_number, _plain(cells))], dtype=float)
    return pd.Series(numbers, index=cells.index)


def as_names(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Texts (n,) without blanks around them, and None for what is missing."""
    return pd.Series([*map(one.name, _plain(cells))], index=cells.index, dtype=object)


def _plain(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Python's own values, and None for each of the ways in which pandas holds nothing."""
    objects = cells.astype(object)
    return objects.where(objects.notna(), None)


def _number(cell: Any) -> float | None:
    try:
        return one.number(cell)
    except ValueError:
        return None


def _as_events(cells: "pd.Series[Any]", labels: tuple[str, str] | None) -> "pd.Series[Any]":
    """(n,): 1.0 where the event happened, 0.0 where not, and NaN for any other cell.

    0 and 1, false and true, and the two labels, where the target has some.
    """
    names = as_names(cells)
    events = names.map(lambda name: _EVENTS.get(str(name).lower(), np.nan)).astype(float)
    for number, label in enumerate(labels or ()):
        events[names == label] = float(number)
    return events


def as_groups(frame: pd.DataFrame, alone: "pd.Series[Any]") -> NDArray[np.int64]:
    """Who belongs together (n,); a row without a group is named by `alone`."""
    named = frame["group"] if "group" in frame else pd.Series(None, index=frame.index, dtype=object)
    groups = ("group " + named.astype(str)).where(named.notna(), "row " + alone)
    return pd.factorize(groups)[0].astype(np.int64)


def is_blank(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Whether a cell holds nothing, (n,)."""
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.isna()
    return pd.Series([*map(one.is_missing, _plain(cells))], index=cells.index, dtype=bool)


def findings(
    cells: "pd.Series[Any]", known: "pd.Series[Any]", column: Column | Target, *, reading: _Reading
) -> pd.DataFrame:
    """What one column gets wrong, as a table: row, column, rule and the cell as it was written."""
    rules = pd.Series("", index=cells.index)
    for broken, rule in reading.broken(known):
        rules[broken] = rule
    rules[known.isna()] = reading.must_be
    rules[is_blank(cells)] = "" if column.may_be_missing else "must not be missing"
    return _table_of(cells, rules, column.name)


def timeless(cells: "pd.Series[Any]", times: "pd.Series[Any]") -> pd.DataFrame:
    rules = pd.Series("", index=cells.index)
    rules[times.isna()] = "must be a number or a date"
    return _table_of(cells, rules, "time")


def _table_of(cells: "pd.Series[Any]", rules: "pd.Series[Any]", name: str) -> pd.DataFrame:
    bad = cells.index[rules != ""]
    shown = cells[bad].astype(str).str.slice(0, _SHOWN).to_numpy()
    return pd.DataFrame(
        {"row": bad + 1, "column": name, "rule": rules[bad].to_numpy(), "value": shown}
    )


def _broken_rules(column: Column | Target, known: "pd.Series[Any]") -> _Rules:
    if column.is_whole:
        yield known % 1 != 0, "must be a whole number"
    yield known < column.low, f"must be at least {column.low:g}"
    yield known > column.high, f"must be at most {column.high:g}"


_COLUMNS: ByColumnType[Callable[[Column], _Reading]] = ByColumnType(
    number=_numbers_between, category=_names_of_categories
)
_TARGETS = ByKind(positive=_numbers_between, real=_numbers_between, binary=_events_named)
