"""From somebody's table to what it declares: features, target, and what should be looked at."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from shlex import join, quote
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.errors import UnusableTable
from engine.domain.schema import Category, Column, Number, Schema, Target
from engine.learning.columns import as_names, as_numbers, as_times, is_blank, read
from engine.learning.data import FEWEST_ROWS
from engine.learning.kinds import Unfit, column_of, target_of
from engine.learning.suspects import is_id, strength, suspicions

MOST_COLUMNS = 1_000
MOST_SLICES = 3
FEWEST_SLICED = 20
"""Different values that a column needs to be cut into fifths."""
GROUP, TIME = "group", "time"
"""What is no feature: who belongs together, and what happened before what."""
NAMELESS = r"(Unnamed: \d+(\.\d+)?)?\s*"
"""A column without a name; pandas gives those of a CSV file a number."""


@dataclass(frozen=True)
class Inferred:
    """What a table declares; `kept` are columns that are no features but have a use, `ignored` all
    that are no features, the target aside."""

    schema: Schema
    target: Target
    slices: tuple[str, ...]
    warnings: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[str, ...]


def infer(
    frame: pd.DataFrame,
    target: str,
    *,
    source: str,
    drop: Collection[str] = (),
    positive: str | None = None,
    max_bad_share: float = 0.05,
) -> Inferred:
    """Read features and target off the rows of a table that have a target.

    Raises UnusableTable with everything that stands in the way, and what to do about each; of more
    columns than MOST_COLUMNS none is looked at.
    """
    table = frame.rename(columns=str)
    frame, notes = labelled(table, target)
    indexes = [n for n in names_of(table) if n not in {target, *drop} and is_index(n, table[n])]
    notes += [f"column {name!r} is a running number, and left out" for name in indexes]
    wrong = wrong_names(table, target, (*drop, *indexes))
    known = {target, GROUP, TIME, *drop, *indexes}
    names = [name for name in names_of(table) if name not in known]
    if len(names) > MOST_COLUMNS:
        wrong.append(
            f"it has {len(names):,} columns, more than {MOST_COLUMNS:,}: keep those that matter"
        )
        raise UnusableTable(f"{source} cannot be learned from yet:{listed(wrong, (), ())}")
    found = [column_of(name, frame[name]) for name in names]
    goal: Target | Unfit | None = None
    if target in frame and target not in {GROUP, TIME}:
        goal = target_of(target, frame[target], positive=positive)
    unfit = [column for column in found if isinstance(column, Unfit)]
    wrong += [f"{bad.name} {bad.reason}" for bad in (goal, *unfit) if isinstance(bad, Unfit)]
    wrong += wrong_times(frame, max_bad_share) + wrong_size(frame, target, names, unfit)
    if wrong:
        dropped = [name for name in drop if name in frame]
        said = listed(wrong, useless_of(names, unfit), dropped)
        raise UnusableTable(f"{source} cannot be learned from yet:{said}")
    assert isinstance(goal, Target)  # noqa: S101 - else there is something wrong
    columns = tuple(column for column in found if not isinstance(column, Unfit))
    return inferred(frame, columns, goal, notes)


def labelled(table: pd.DataFrame, target: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows with a target, and a note about the others: what is not known teaches nothing. All
    rows, where those are too few to tell what the columns are."""
    rows = table[~is_blank(table[target])] if target in table else table
    without = len(table) - len(rows)
    if without == 0 or len(rows) < FEWEST_ROWS:
        return table, []
    note = (
        f"{target} is missing in {without:,} of {len(table):,} rows: nothing is learned from them"
    )
    return rows, [note]


def is_index(name: str, values: "pd.Series[Any]") -> bool:
    """What a program wrote that numbers its rows; it gives that column no name."""
    return is_nameless(name) and is_id(name, values)


def names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def wrong_names(frame: pd.DataFrame, target: str, drop: Collection[str]) -> list[str]:
    """Names that are asked for and not there, or there and of no use."""
    names, wrong = names_of(frame), []
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
        if is_nameless(name) and name not in drop:
            wrong.append(f"column {place} has no name: give it one, or --drop {quote(name)}")
    return wrong


def is_nameless(name: str) -> bool:
    return re.fullmatch(NAMELESS, name) is not None


def wrong_times(frame: pd.DataFrame, max_bad_share: float) -> list[str]:
    """What keeps `time` from ordering the rows: more cells than may be set aside are no times."""
    if TIME not in frame:
        return []
    is_bad = as_times(frame[TIME]).isna()
    if is_bad.mean() <= max_bad_share:
        return []
    bad = frame[TIME][is_bad].astype(object)
    told = bad[~is_blank(bad)]
    said = "empty" if told.empty else f"no time, such as {str(told.iloc[0])[:25]!r},"
    return [
        f"{TIME} is {said} in {is_bad.mean():.0%} of the rows: write numbers or ISO 8601 dates, "
        "such as 2024-01-31, or give the column another name"
    ]


def wrong_size(
    frame: pd.DataFrame, target: str, names: Sequence[str], unfit: Sequence[Unfit]
) -> list[str]:
    wrong = []
    if len(names) == len(unfit):
        wrong.append("no column is left to predict from")
    blank = int(is_blank(frame[target]).sum()) if target in frame else 0
    if len(frame) - blank < FEWEST_ROWS:
        which = f" with {target}" if blank else ""
        wrong.append(
            f"it has {len(frame) - blank} rows{which}; intervals need at least {FEWEST_ROWS}"
        )
    return wrong


def useless_of(names: Sequence[str], unfit: Sequence[Unfit]) -> list[str]:
    """What a table can do without; none where nothing would be left."""
    useless = [name for name in names if is_nameless(name)] + [bad.name for bad in unfit]
    return useless if len(set(useless)) < len(names) else []


def listed(wrong: Sequence[str], useless: Sequence[str], dropped: Sequence[str]) -> str:
    """One finding a line, and the way to go on without the columns that are of no use."""
    lines = "".join(f"\n  - {one}" for one in wrong)
    words = join(dict.fromkeys((*dropped, *useless)))
    return f"{lines}\n  to go on without what is of no use: --drop {words}" if useless else lines


def inferred(
    frame: pd.DataFrame, columns: tuple[Column, ...], target: Target, notes: Sequence[str]
) -> Inferred:
    truth = read(frame[target.name], target)
    strengths = {c.name: strength(frame[c.name], c, truth, target) for c in columns}
    return Inferred(
        schema=Schema(with_examples(frame, columns)),
        target=target,
        slices=slices_of(frame, columns, strengths),
        warnings=(*notes, *suspicions(frame, columns, strengths)),
        kept=tuple(name for name in (GROUP, TIME) if name in frame),
        ignored=ignored_in(frame, {target.name, *strengths}),
    )


def ignored_in(frame: pd.DataFrame, used: Collection[str]) -> tuple[str, ...]:
    """The columns that are not used; one without a name is `Unnamed: 0` to pandas alone."""
    others = [name for name in names_of(frame) if name not in used]
    return tuple([*others, ""] if any(map(is_nameless, others)) else others)


def slices_of(
    frame: pd.DataFrame, columns: tuple[Column, ...], strengths: dict[str, float]
) -> tuple[str, ...]:
    """The numbers that tell most about the target: in their fifths coverage is watched."""
    names = [
        column.name
        for column in columns
        if isinstance(column, Number)
        and not column.may_be_missing
        and frame[column.name].nunique() >= FEWEST_SLICED
    ]
    return tuple(sorted(names, key=lambda name: -strengths[name])[:MOST_SLICES])


def with_examples(frame: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns with the values of the most typical row; what it lacks is typical of the column.

    Typical is a row of values near the middle of their column, and of frequent categories.
    """
    oddness = np.mean([odd(frame[column.name], column) for column in columns], axis=0)
    row = frame.iloc[int(np.argmin(oddness))]
    return tuple(with_example(column, row[column.name]) for column in columns)


def odd(values: "pd.Series[Any]", column: Column) -> Any:
    """How far each cell is from what is typical, (n,), 0 to 1; an empty cell is furthest."""
    if isinstance(column, Number):
        return (2 * (as_numbers(values).rank(pct=True) - 0.5).abs()).fillna(1).to_numpy()
    names = as_names(values)
    return (1 - names.map(names.value_counts(normalize=True))).astype(float).fillna(1).to_numpy()


def with_example(column: Column, cell: Any) -> Column:
    value = read(pd.Series([cell], dtype=object), column).iloc[0]
    if isinstance(column, Category):
        return replace(column, example=value) if column.knows(value) and value else column
    return replace(column, example=float(value)) if column.low <= value <= column.high else column
