"""Features that may be missing: how they are declared, and how simulated tables lack them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.columns import Category, Number

_KNOWING_LITTLE = 0.15
_RARELY, _OFTEN = 0.04, 0.7
"""How often a caller lacks a value who knows most of a row, and one who knows little of it."""


def number(name: str, unit: str, description: str, high: float, example: float) -> Number:
    """From 0 to `high`."""
    return Number(name, unit, description, 0, high, example, may_be_missing=True)


def count(name: str, unit: str, description: str, high: float, example: float) -> Number:
    """A whole number from 0 to `high`."""
    return replace(number(name, unit, description, high, example), is_whole=True)


def category(name: str, description: str, names: tuple[str, ...], example: str) -> Category:
    return Category(name, description, names, example, may_be_missing=True)


def with_gaps(
    columns: Mapping[str, NDArray[Any]], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """The columns (n,) with values taken away at random: NaN among numbers, None among names."""
    rows = len(next(iter(columns.values())))
    share = np.where(rng.random(rows) < _KNOWING_LITTLE, _OFTEN, _RARELY)
    return {name: _gapped(values, rng.random(rows) < share) for name, values in columns.items()}


def _gapped(values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    nothing: Any = None if values.dtype == object else np.nan
    return np.where(missing, nothing, values)
