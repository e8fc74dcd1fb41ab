"""A prediction problem as it is declared: features, target and the routes' contracts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.domain.prediction import Answer
from engine.domain.schema import Row, Schema, Target

Columns = Mapping[str, Any]
"""Column name to a one-dimensional array; all of one length."""


@dataclass(frozen=True)
class Contract:
    """One route: the type of its body, the type of its reply, and the two pure steps between.

    `request` takes the largest number of rows a body may hold and returns a type pydantic can
    validate; `rows` takes a validated body; `answer` returns the reply as plain JSON values.
    """

    path: str
    summary: str
    request: Callable[[int], Any]
    reply: Any
    rows: Callable[[Any], Sequence[Row]]
    answer: Callable[[Answer], Mapping[str, Any]]
    example: Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """A foreign table's way into the problem's columns.

    `translate` takes the raw table (a pandas DataFrame) and returns the problem's columns;
    rows with one `group` are kept on one side of every split.
    """

    description: str
    translate: Callable[[Any], Columns]


@dataclass(frozen=True)
class Problem:
    """One declared prediction task."""

    name: str
    title: str
    schema: Schema
    target: Target
    contracts: tuple[Contract, ...]
    simulate: Callable[[int, int], Columns]
    """(rows, seed) to columns: the market the default model is trained on."""
    slices: tuple[str, ...]
    """Features whose quintiles are watched for coverage, besides the predicted value."""
    layouts: Mapping[str, Layout]
