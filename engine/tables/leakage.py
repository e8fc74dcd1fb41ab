"""Columns that may be no features at all: ids, and columns that already know the target."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.columns import ByColumnType, Column
from engine.domain.events import area
from engine.domain.kinds import ByKind
from engine.domain.schema import Target
from engine.tables.cells import as_names, as_numbers, is_blank

_ID_NAME = re.compile(r"(.*[_\s.-])?(id|ids|uuid|guid|key|index|row|rownames?|nr|no|number)", re.I)
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")
_ALMOST = 0.999
"""A column that orders the target better than this is suspected to be made from it."""
_FEWEST_PAIRS = 50
_FEWEST_KEPT = 0.5
"""The share of its different values that a column should keep in float32, in which trees
compare."""


@dataclass(frozen=True)
class _Suspect:
    """What can be suspected of a type of column: its name and cells may be ids, cells may be one to
    a model that are not to a person; and what its cells say, as numbers that may order a target."""

    is_id: Callable[[str, "pd.Series[Any]"], bool]
    is_blurred: Callable[["pd.Series[Any]"], bool]
    ordered: Callable[["pd.Series[Any]", "pd.Series[Any]"], "pd.Series[Any]"]


def suspicions(
    frame: pd.DataFrame, columns: tuple[Column, ...], strengths: dict[str, float]
) -> Iterator[str]:
    """One sentence a column that should be looked at before it is learned from."""
    for column in columns:
        suspect, values = _SUSPECTS[column.type], frame[column.name]
        if strengths[column.name] > _ALMOST:
            yield (
                f"{column.name} tells the target almost alone (leakage?): will it be known when a "
                f"prediction is asked for? If not: --drop {quote(column.name)}"
            )
        elif suspect.is_id(column.name, values):
            yield (
                f"{column.name} looks like an id, which says nothing about new rows: "
                f"--drop {quote(column.name)}, or call it `group` to keep its rows together"
            )
        if suspect.is_blurred(values):
            yield (
                f"{column.name} has different values that a model cannot tell apart: it keeps "
                "seven digits and nothing below 1e-38: subtract a constant, or change the unit"
            )


def is_id(name: str, values: "pd.Series[Any]") -> bool:
    """Whether the name is one of ids, or every row has a different whole number."""
    numbers = as_numbers(values.dropna()).dropna()
    is_whole = bool((numbers % 1 == 0).all())
    is_named = _ID_NAME.fullmatch(name) or _CAMEL_ID.fullmatch(name)
    return is_whole and (bool(is_named) or numbers.nunique() == len(values))


def _is_blurred(values: "pd.Series[Any]") -> bool:
    """Whether most of the different numbers are equal in float32."""
    numbers = as_numbers(values).dropna()
    return numbers.astype(np.float32).nunique() < _FEWEST_KEPT * numbers.nunique()


def strength(
    values: "pd.Series[Any]", column: Column, target: "pd.Series[Any]", *, of: Target
) -> float:
    """How well one column alone orders the target, 0 to 1.

    The absolute rank correlation with a quantity (Spearman), and with an event how far the area
    under the ROC curve is from a half, doubled (Somers' D); of a category by its mean target. That
    a cell is empty can tell as much as what it says.
    """
    said = _SUSPECTS[column.type].ordered(values, target)
    found = [_ordering(said, target, of)]
    if is_blank(values).any():
        found.append(_ordering(is_blank(values).astype(float), target, of))
    return max(found)


def _by_category(values: "pd.Series[Any]", target: "pd.Series[Any]") -> "pd.Series[Any]":
    names = as_names(values)
    return target.groupby(names).transform("mean").where(names.notna())


def _ordering(said: "pd.Series[Any]", target: "pd.Series[Any]", of: Target) -> float:
    both = said.notna() & target.notna()
    said, truth = said[both], target[both]
    if len(said) < _FEWEST_PAIRS or said.nunique() < 2 or truth.nunique() < 2:
        return 0.0
    return _ORDERINGS[of.kind](said, truth)


def _rank_correlation(said: "pd.Series[Any]", truth: "pd.Series[Any]") -> float:
    return abs(float(said.rank().corr(truth.rank())))


def _somers_d(said: "pd.Series[Any]", truth: "pd.Series[Any]") -> float:
    return abs(2 * area(said.to_numpy(np.float64), truth.to_numpy(np.float64)) - 1)


_ORDERINGS = ByKind(positive=_rank_correlation, real=_rank_correlation, binary=_somers_d)
_SUSPECTS = ByColumnType(
    number=_Suspect(is_id, _is_blurred, lambda values, target: as_numbers(values)),
    category=_Suspect(lambda name, values: False, lambda values: False, _by_category),
)
