"""What one column of somebody's table is: a number, a category, a target, or of no use as it is."""

from dataclasses import dataclass
from datetime import date
from numbers import Number as AnyNumber
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.columns import LARGEST, LONGEST_CATEGORY, Category, Number
from engine.domain.kinds import BINARY, POSITIVE, REAL
from engine.domain.schema import Target
from engine.tables.cells import as_names, as_numbers, is_blank
from engine.tables.notations import MOSTLY, is_dated, number_as_text

_MOST_CATEGORIES = 100
_WORDS_OF_TEXT = 4
_UNIT = "as in the table"
_PROBABILITY = "probability"
_YES = {"1", "on", "positive", "t", "true", "y", "yes"}
_TEN = 10.0
"""A truth of a positive quantity may be this many times larger or smaller than those seen."""


@dataclass(frozen=True)
class Unfit:
    """Why a column cannot be used as it is, and what to do about it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dates:
    """A column of dates, which is no feature."""

    name: str


def column_of(name: str, values: "pd.Series[Any]") -> Number | Category | Dates | Unfit:
    """The column that a request will have to fill; its example is left to the whole table."""
    cells = _filled(values)
    may_be_missing = len(cells) < len(values)
    reason = _reason_against(cells, may_be_missing=may_be_missing)
    if reason is None and is_dated(cells):
        return Dates(name)
    is_declared = isinstance(values.dtype, pd.CategoricalDtype)
    if reason is None and _is_numeric(cells) and not is_declared:
        return _number_of(name, _finite(cells), may_be_missing=may_be_missing)
    if reason is None:
        names = as_names(cells)
        reason = _reason_against_many(names) if is_declared else _reason_against_text(names)
    if reason is not None:
        return Unfit(name, reason)
    categories = _by_frequency(as_names(cells))
    said = "A column of the table."
    return Category(name, said, categories, categories[0], may_be_missing)


def _by_frequency(names: "pd.Series[Any]") -> tuple[str, ...]:
    """Each name once, the most frequent first, and the alphabet where two are alike."""
    counts = names.value_counts()
    return tuple(sorted(counts.index, key=lambda name: (-counts[name], name)))


def target_of(name: str, values: "pd.Series[Any]", *, positive: str | None) -> Target | Unfit:
    """What is to be predicted: two distinct values are an event, more numbers a quantity."""
    cells = _filled(values)
    reason = _reason_against(cells, may_be_missing=False)
    if reason is None and is_dated(cells):
        reason = f"holds dates, such as {str(cells.iloc[0])[:25]!r}: predict a number, or an event"
    if reason is not None:
        return Unfit(name, reason)
    if not _is_numeric(cells):
        return _event_of_texts(name, as_names(cells), positive)
    seen = _finite(cells)
    if seen.nunique() > 2:
        return _quantity_of(name, seen, positive)
    return _event_of_numbers(name, seen, positive)


def _filled(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The cells that hold something."""
    cells = values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values
    return cells[~is_blank(cells)]


def _reason_against(cells: "pd.Series[Any]", *, may_be_missing: bool) -> str | None:
    """What is wrong with the column for any use, if anything."""
    if cells.empty:
        return "is empty in every row"
    strange = cells.map(lambda cell: not isinstance(cell, str | AnyNumber | np.bool_ | date))
    if strange.any():
        kind = type(cells[strange].iloc[0]).__name__
        return f"holds values of the type {kind}; only numbers, texts and booleans can be used"
    if _is_numeric(cells) and len(_finite(cells)) < MOSTLY * len(cells):
        return f"holds numbers beyond {LARGEST:g}, or infinite ones: leave those cells empty"
    if cells.nunique() == 1:
        empty = (
            ", or is empty: write what an empty cell means" if may_be_missing else " in every row"
        )
        return f"says {as_names(cells).iloc[0][:40]!r}{empty}"
    return None


def _reason_against_text(cells: "pd.Series[Any]") -> str | None:
    """What keeps texts from being categories, if anything does."""
    if (example := number_as_text(cells)) is not None:
        return (
            f"writes numbers as texts, such as {example!r}: write them as 1234.5, with no sign, or "
            "as words, if they are names"
        )
    numbers = as_numbers(cells).notna()
    if numbers.mean() >= MOSTLY / 2:
        example = cells[~numbers].iloc[0][:25]
        return (
            f"is a number in {numbers.mean():.0%} of its cells, and {example!r} elsewhere: leave "
            "those cells empty, or write all of them as words"
        )
    return _reason_against_many(cells)


def _reason_against_many(cells: "pd.Series[Any]") -> str | None:
    """What keeps names from being categories: that they are too many, or too long."""
    distinct = cells.nunique()
    if distinct > _MOST_CATEGORIES and cells.str.count(r"\s+").mean() >= _WORDS_OF_TEXT - 1:
        return "is free text, which cannot be used as it is: derive numbers or categories from it"
    if distinct > _MOST_CATEGORIES:
        what = "a name or an id, " if distinct == len(cells) else ""
        return (
            f"has {distinct} different texts ({what}more than {_MOST_CATEGORIES} categories): "
            "group the rare ones under one name"
        )
    if cells.str.len().max() > LONGEST_CATEGORY:
        return f"has texts longer than {LONGEST_CATEGORY} characters: give them short names"
    return None


def _is_numeric(cells: "pd.Series[Any]") -> bool:
    """Whether a column is one of numbers; booleans are names."""
    is_flag = cells.map(lambda cell: isinstance(cell, bool | np.bool_)).astype(bool)
    return bool((as_numbers(cells).notna() & ~is_flag).mean() >= MOSTLY)


def _finite(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """The numbers among some cells."""
    numbers = as_numbers(cells)
    return numbers[numbers.abs() <= LARGEST]


def _number_of(name: str, seen: "pd.Series[Any]", *, may_be_missing: bool) -> Number | Unfit:
    """Whole as long as its different values are few enough to be counts: others were rounded."""
    low, high = float(seen.min()), float(seen.max())
    if low == high:
        return Unfit(name, f"is {low:g} wherever it is a number")
    return Number(
        name=name,
        unit=_UNIT,
        description=f"From {low:g} to {high:g} in the table.",
        low=low,
        high=high,
        example=float(seen.median()),
        is_whole=bool((seen % 1 == 0).all()) and seen.nunique() <= _MOST_CATEGORIES,
        may_be_missing=may_be_missing,
    )


def _quantity_of(name: str, seen: "pd.Series[Any]", positive: str | None) -> Target | Unfit:
    if positive is not None:
        return Unfit(
            name, f"is a number with {seen.nunique()} values: --positive needs exactly two"
        )
    low, high = float(seen.min()), float(seen.max())
    unit, description = f"{name} {_UNIT}", f"From {low:g} to {high:g} in the table."
    if low > 0:
        return Target(name, unit, description, low / _TEN, high * _TEN, POSITIVE)
    width = _TEN * (high - low)
    return Target(name, unit, description, low - width, high + width, REAL)


def _event_of_numbers(name: str, seen: "pd.Series[Any]", positive: str | None) -> Target | Unfit:
    found = sorted(set(seen))
    if found != [0, 1]:
        return Unfit(
            name, f"is {' or '.join(f'{one:g}' for one in found)}: write 0 and 1, or words"
        )
    if positive not in {None, "1"}:
        return Unfit(name, "is 0 or 1, where 1 is what happens: leave --positive out, or swap them")
    return Target(name, _PROBABILITY, "Whether it happens, 1, or not, 0.", 0, 1, BINARY)


def _event_of_texts(name: str, names: "pd.Series[Any]", positive: str | None) -> Target | Unfit:
    """What happens is `positive`, else a word such as yes, else the later one in the alphabet."""
    found = sorted(set(names))
    if len(found) > 2 and (reason := _reason_against_text(names)) is not None:
        return Unfit(name, reason)
    if len(found) > 2:
        return Unfit(
            name,
            f"has {len(found)} different texts, such as {found[0][:40]!r}: predict a number, or "
            "make it a question of yes or no, such as one of them against the rest",
        )
    if positive is not None and positive not in found:
        return Unfit(
            name, f"is never {positive!r}: --positive must be {found[0]!r} or {found[1]!r}"
        )
    happens = positive or next((one for one in found if one.lower() in _YES), found[-1])
    other = next(one for one in found if one != happens)
    said = f"Whether it is {happens!r}, 1, or {other!r}, 0."
    return Target(name, _PROBABILITY, said, 0, 1, BINARY, (other, happens))
