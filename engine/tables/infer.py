"""Infers from a table what it declares: features, target, and what a person should check."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from shlex import join, quote
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.columns import ByColumnType, Column
from engine.domain.errors import UnusableTable
from engine.domain.schema import Schema, Target
from engine.tables.cells import as_names, as_numbers, is_blank, read, reading_of_target
from engine.tables.column import Dates, Unfit, column_of, target_of
from engine.tables.leakage import is_id, strength, suspicions
from engine.tables.moments import (
    ALIKE,
    TIME,
    as_times,
    likeness,
    moments_of,
    order_in,
    part_of,
)
from engine.tables.table import FEWEST_ROWS

_MOST_COLUMNS = 1_000
_TOO_MANY = f"more than {_MOST_COLUMNS:,}: keep those that matter"
_MOST_SLICES = 3
_FEWEST_SLICED = 20
"""Different values that a column needs before it is cut into fifths."""
GROUP = "group"
"""Not a feature: it keeps rows together. The column `time` is not one either: it orders the
rows."""
_NAMELESS = r"(Unnamed: \d+(\.\d+)?)?\s*"
"""Matches a column without a name; pandas names such a column of a CSV file with a number."""


@dataclass(frozen=True)
class Inferred:
    """What a table declares; `order` are the columns that say when a row happened, `ignored` all
    that are no features, the target aside."""

    schema: Schema
    target: Target
    slices: tuple[str, ...]
    warnings: tuple[str, ...]
    order: tuple[str, ...]
    ignored: tuple[str, ...]


def infer(
    frame: pd.DataFrame,
    target: str,
    *,
    source: str,
    drop: Collection[str] = (),
    positive: str | None = None,
    max_bad_share: float = 0.05,
    order: Sequence[str] | None = None,
) -> Inferred:
    """Read features and target off the rows of a table that have a target.

    `order` names the columns that say when a row happened; none of them where it is empty, and
    where it is None they are found. Raises UnusableTable with everything that stands in the way,
    and what to do about each; of more columns than MOST_COLUMNS none is looked at.
    """
    table = frame.rename(columns=str)
    frame, notes = _labelled(table, target)
    indexes = [n for n in _names_of(table) if n not in {target, *drop} and _is_index(n, table[n])]
    notes += [f"column {name!r} only numbers the rows and is left out" for name in indexes]
    wrong = _wrong_names(table, target, (*drop, *indexes)) + _wrong_order(table, order or ())
    if order is None or TIME in table:
        order = order_in(frame, {target, *drop, *indexes}, max_bad_share)
    alone = order if len(order) == 1 else ()
    known = {target, GROUP, TIME, *drop, *indexes, *alone}
    names = [name for name in _names_of(table) if name not in known]
    if len(names) > _MOST_COLUMNS:
        raise _cannot_be(source, [*wrong, f"it has {len(names):,} columns, {_TOO_MANY}"])
    found = [column_of(name, frame[name]) for name in names]
    goal = _goal_of(frame, target, positive)
    unfit = [column for column in found if isinstance(column, Unfit)]
    columns = tuple(one for one in found if not isinstance(one, Dates | Unfit))
    notes += [_left_out(column) for column in found if isinstance(column, Dates)]
    wrong += [f"{bad.name} {bad.reason}" for bad in (goal, *unfit) if isinstance(bad, Unfit)]
    wrong += _wrong_times(frame, order, max_bad_share) + _wrong_size(frame, target, columns)
    if wrong:
        dropped = [name for name in drop if name in frame]
        raise _cannot_be(source, wrong, _useless_of(names, unfit), dropped=dropped)
    assert isinstance(goal, Target)  # noqa: S101 - else there is something wrong
    return _inferred(frame, columns, goal, notes=notes, order=order)


def _labelled(table: pd.DataFrame, target: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows with a target, and a note about the others: a row without a target cannot be learned
    from. All rows, where those are too few to tell what the columns are."""
    rows = table[~is_blank(table[target])] if target in table else table
    without = len(table) - len(rows)
    if without == 0 or len(rows) < FEWEST_ROWS:
        return table, []
    note = (
        f"{target} is missing in {without:,} of {len(table):,} rows: nothing is learned from them"
    )
    return rows, [note]


def _goal_of(frame: pd.DataFrame, target: str, positive: str | None) -> Target | Unfit | None:
    """What is to be predicted; None where the table has no such column, or one with a use."""
    if target not in frame or target in {GROUP, TIME}:
        return None
    return target_of(target, frame[target], positive=positive)


def _left_out(dates: Dates) -> str:
    return (
        f"{dates.name} holds dates, which cannot be features: left out; derive numbers from them, "
        "such as the month or an age in days"
    )


def _is_index(name: str, values: "pd.Series[Any]") -> bool:
    """What a program wrote that numbers its rows; it gives that column no name."""
    return _is_nameless(name) and is_id(name, values)


def _names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def _wrong_names(frame: pd.DataFrame, target: str, drop: Collection[str]) -> list[str]:
    """Findings on requested names that do not exist or cannot be used."""
    names, wrong = _names_of(frame), []
    for name in (target, *drop):
        if name not in names:
            near = get_close_matches(name, names, n=3, cutoff=0.5)
            meant = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names)}"
            wrong.append(f"there is no column {name}: {meant}")
    if target in drop:
        wrong.append(f"{target} is the target and cannot be dropped")
    for name in {GROUP, TIME} & {target, *drop}:
        wrong.append(
            f"{name} has a meaning of its own (see docs/your-own-data.md): give it another name"
        )
    for place, name in enumerate(names, start=1):
        if _is_nameless(name) and name not in drop:
            wrong.append(f"column {place} has no name: give it one, or --drop {quote(name)}")
    return wrong


def _is_nameless(name: str) -> bool:
    return re.fullmatch(_NAMELESS, name) is not None


def _wrong_order(frame: pd.DataFrame, order: Sequence[str]) -> list[str]:
    """What keeps columns that somebody names from ordering the rows."""
    lacking = [name for name in order if name not in frame]
    wrong = [f"--time: there is no column {name}" for name in lacking]
    parts = {part_of(name) for name in order}
    if len(order) > 1 and (None in parts or not {"year", "month"} <= parts):
        wrong.append(
            "--time: several columns must be year and month, and day, hour, minute, second if known"
        )
    return wrong


def _wrong_times(frame: pd.DataFrame, order: Sequence[str], max_bad_share: float) -> list[str]:
    """What keeps rows from being ordered: more of them than may be set aside have no time."""
    if not order or any(name not in frame for name in order):
        return []
    moments = moments_of(frame, order)
    is_bad = as_times(moments).isna()
    if is_bad.mean() <= max_bad_share:
        return []
    bad = moments[is_bad].astype(object)
    told = bad[~is_blank(bad)]
    said = "empty" if told.empty else f"not a time, such as {str(told.iloc[0])[:25]!r},"
    return [
        f"{', '.join(order)} is {said} in {is_bad.mean():.0%} of the rows: write numbers or dates, "
        "such as 2024-01-31, or give the column another name"
    ]


def _wrong_size(frame: pd.DataFrame, target: str, columns: Sequence[Column]) -> list[str]:
    wrong = []
    if not columns:
        wrong.append("no column is left to predict from")
    blank = int(is_blank(frame[target]).sum()) if target in frame else 0
    if len(frame) - blank < FEWEST_ROWS:
        which = f" with {target}" if blank else ""
        wrong.append(
            f"it has {len(frame) - blank} rows{which}; intervals need at least {FEWEST_ROWS}"
        )
    return wrong


def _useless_of(names: Sequence[str], unfit: Sequence[Unfit]) -> list[str]:
    """Columns that can be left out; none where no column would be left."""
    useless = [name for name in names if _is_nameless(name)] + [bad.name for bad in unfit]
    return useless if len(set(useless)) < len(names) else []


def _cannot_be(
    source: str, wrong: Sequence[str], useless: Sequence[str] = (), *, dropped: Sequence[str] = ()
) -> UnusableTable:
    """One finding a line, and the way to go on without the columns that are of no use."""
    lines = "".join(f"\n  - {one}" for one in wrong)
    words = join(dict.fromkeys((*dropped, *useless)))
    way_out = (
        f"\n  to train without the columns that cannot be used: --drop {words}" if useless else ""
    )
    return UnusableTable(f"{source} cannot be trained on yet:{lines}{way_out}")


def _inferred(
    frame: pd.DataFrame,
    columns: tuple[Column, ...],
    target: Target,
    *,
    notes: Sequence[str],
    order: Sequence[str],
) -> Inferred:
    truth = reading_of_target(target).values(frame[target.name])
    strengths = {c.name: strength(frame[c.name], c, truth, of=target) for c in columns}
    return Inferred(
        schema=Schema(_with_examples(frame, columns)),
        target=target,
        slices=_slices_of(frame, columns, strengths),
        warnings=(*notes, *suspicions(frame, columns, strengths), *_unordered(truth, order)),
        order=tuple(order),
        ignored=_ignored_in(frame, {target.name, *strengths}),
    )


def _unordered(truth: "pd.Series[Any]", order: Sequence[str]) -> list[str]:
    """A warning where rows seem to be in an order that no column explains; sorted tables also
    do."""
    found = likeness(truth.dropna().to_numpy(dtype=float))
    if order or found < ALIKE:
        return []
    return [
        f"neighbouring rows are alike (rank correlation {found:.2f}): if they follow each other in "
        "time, name the column that says when with --time, or add one; else intervals may cover "
        "less of tomorrow's rows than is measured here. Sorted tables look so, too"
    ]


def _ignored_in(frame: pd.DataFrame, used: Collection[str]) -> tuple[str, ...]:
    """The columns that are not used; one without a name is `Unnamed: 0` to pandas alone."""
    others = [name for name in _names_of(frame) if name not in used]
    return tuple([*others, ""] if any(map(_is_nameless, others)) else others)


def _slices_of(
    frame: pd.DataFrame, columns: tuple[Column, ...], strengths: dict[str, float]
) -> tuple[str, ...]:
    """The numbers that tell most about the target: in their fifths coverage is watched."""
    names = [
        column.name
        for column in columns
        if not column.categories
        and not column.may_be_missing
        and frame[column.name].nunique() >= _FEWEST_SLICED
    ]
    return tuple(sorted(names, key=lambda name: -strengths[name])[:_MOST_SLICES])


def _with_examples(frame: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns with the values of the most typical row; what it lacks is typical of the column.

    Typical is a row of values near the middle of their column, and of frequent categories.
    """
    oddness = np.mean([_odd(frame[column.name], column) for column in columns], axis=0)
    row = frame.iloc[int(np.argmin(oddness))]
    return tuple(_with_example(column, row[column.name]) for column in columns)


def _odd(values: "pd.Series[Any]", column: Column) -> Any:
    """How far each cell is from what is typical, (n,), 0 to 1; an empty cell is furthest."""
    return _ODDNESS[column.type](values).astype(float).fillna(1).to_numpy()


def _from_the_middle(values: "pd.Series[Any]") -> "pd.Series[Any]":
    return 2 * (as_numbers(values).rank(pct=True) - 0.5).abs()


def _from_the_frequent(values: "pd.Series[Any]") -> "pd.Series[Any]":
    names = as_names(values)
    return 1 - names.map(names.value_counts(normalize=True))


_ODDNESS = ByColumnType(number=_from_the_middle, category=_from_the_frequent)


def _with_example(column: Column, cell: Any) -> Column:
    return column.with_example(read(pd.Series([cell], dtype=object), column).iloc[0])
