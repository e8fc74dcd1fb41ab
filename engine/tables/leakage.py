"""Columns that may be no features at all: ids, and columns that already know the target."""

import re
from collections.abc import Iterator
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.events import area
from engine.domain.schema import BINARY, Column, Number, Target
from engine.tables.cells import as_names, as_numbers, is_blank

ID_NAME = re.compile(r"(.*[_\s.-])?(id|ids|uuid|guid|key|index|row|rownames?|nr|no|number)", re.I)
CAMEL_ID = re.compile(r".*[a-z](Id|ID)")
ALMOST = 0.999
"""A column that orders the target better than this is suspected to be made from it."""
FEWEST_PAIRS = 50
FEWEST_KEPT = 0.5
"""Of its different values a column should keep so many in float32, in which trees compare."""


def suspicions(
    frame: pd.DataFrame, columns: tuple[Column, ...], strengths: dict[str, float]
) -> Iterator[str]:
    """One sentence a column that should be looked at before it is learned from."""
    for column in columns:
        if strengths[column.name] > ALMOST:
            yield (
                f"{column.name} tells the target almost alone (leakage?): will it be known when a "
                f"prediction is asked for? If not: --drop {quote(column.name)}"
            )
        elif isinstance(column, Number) and is_id(column.name, frame[column.name]):
            yield (
                f"{column.name} looks like an id, which says nothing about new rows: "
                f"--drop {quote(column.name)}, or call it `group` to keep its rows together"
            )
        if isinstance(column, Number) and is_blurred(frame[column.name]):
            yield (
                f"{column.name} has values that are one and the same to a model, which keeps seven "
                "digits and nothing below 1e-38: subtract a constant, or change the unit"
            )


def is_id(name: str, values: "pd.Series[Any]") -> bool:
    """A name of ids, or another whole number in every row."""
    numbers = as_numbers(values.dropna()).dropna()
    is_whole = bool((numbers % 1 == 0).all())
    is_named = ID_NAME.fullmatch(name) or CAMEL_ID.fullmatch(name)
    return is_whole and (bool(is_named) or numbers.nunique() == len(values))


def is_blurred(values: "pd.Series[Any]") -> bool:
    """Whether most of the different numbers are equal in float32."""
    numbers = as_numbers(values).dropna()
    return numbers.astype(np.float32).nunique() < FEWEST_KEPT * numbers.nunique()


def strength(
    values: "pd.Series[Any]", column: Column, target: "pd.Series[Any]", of: Target
) -> float:
    """How well one column alone orders the target, 0 to 1.

    The absolute rank correlation with a quantity (Spearman), and with an event how far the area
    under the ROC curve is from a half, doubled (Somers' D); of a category by its mean target. That
    a cell is empty can tell as much as what it says.
    """
    said = as_numbers(values) if isinstance(column, Number) else by_category(values, target)
    found = [ordering(said, target, of)]
    if is_blank(values).any():
        found.append(ordering(is_blank(values).astype(float), target, of))
    return max(found)


def by_category(values: "pd.Series[Any]", target: "pd.Series[Any]") -> "pd.Series[Any]":
    names = as_names(values)
    return target.groupby(names).transform("mean").where(names.notna())


def ordering(said: "pd.Series[Any]", target: "pd.Series[Any]", of: Target) -> float:
    both = said.notna() & target.notna()
    said, truth = said[both], target[both]
    if len(said) < FEWEST_PAIRS or said.nunique() < 2 or truth.nunique() < 2:
        return 0.0
    if of.kind != BINARY:
        return abs(float(said.rank().corr(truth.rank())))
    return abs(2 * area(said.to_numpy(np.float64), truth.to_numpy(np.float64)) - 1)
