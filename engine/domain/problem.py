"""A prediction problem as it is declared: features, target and the routes' contracts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.domain.answer import Answer
from engine.domain.prediction import Entities
from engine.domain.schema import Row, Schema, Target, body_type

SIMULATED = "simulated market, "
"""How the source of simulated rows begins in a card."""

Columns = Mapping[str, Any]
"""Column name to a one-dimensional array; all of one length."""


NO_OTHERS = body_type("NoOthers", {})
"""The columns of a table besides the features, where there are none."""


@dataclass(frozen=True)
class TableForm:
    """How a route of many rows takes a table in place of a list of rows, and answers with one.

    `field` is the list in the body that holds the rows. `others` is a TypedDict of lists: columns
    that are no features. `row` makes the row of a body from the row of a table, and `texts` says of
    a row of a body what it has in those of `others` that a reply repeats. `key` is the one of them
    that names each entity.

    `answer` takes the answer, what is in `others` and the rest of the body; it returns the columns
    of the reply, besides ids, warnings and versions. `note` says what is to be said of rows that
    have columns of these names.
    """

    field: str
    others: Any
    answer: Callable[[Answer, Columns, Mapping[str, Any]], Columns]
    row: Callable[[Mapping[str, Any]], Any] = dict
    texts: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda row: {}
    key: str | None = None
    note: Callable[[Iterable[str]], list[str]] = lambda names: []
    is_tolerant: bool = False
    most_rows: int = 1_000_000
    """No setting allows more."""


@dataclass(frozen=True)
class Contract:
    """One route: the type of its body, the type of its reply, and the two pure steps between.

    `request` takes the largest number of rows a body may hold and returns a type pydantic can
    validate; `entities` takes a validated body; `answer` takes the answer and that body, and
    returns the reply as plain JSON values. `examples` are bodies by what they show.
    """

    path: str
    summary: str
    request: Callable[[int], Any]
    reply: Any
    entities: Callable[[Any], Entities]
    answer: Callable[[Answer, Any], Mapping[str, Any]]
    examples: Mapping[str, Mapping[str, Any]]
    table: TableForm | None = None
    """Of a route of many rows that takes a table, too."""


@dataclass(frozen=True)
class Layout:
    """A foreign table's way into the problem's columns.

    `translate` takes the raw table (a pandas DataFrame) and returns the problem's columns;
    rows with one `group` are kept on one side of every split.
    """

    description: str
    translate: Callable[[Any], Columns]


@dataclass(frozen=True)
class Lookup:
    """Features that are kept by key, and looked up when the key is asked about.

    `key` names the column of a table of features; `fallback` is the row that answers while they
    cannot be had; `simulate` takes (rows, seed) and returns such a table, `at` (ISO 8601) included.
    """

    key: str
    fallback: Row
    simulate: Callable[[int, int], Columns]


@dataclass(frozen=True)
class Problem:
    """One declared prediction task."""

    name: str
    title: str
    schema: Schema
    target: Target
    contracts: tuple[Contract, ...]
    simulate: Callable[[int, int], Columns] | None
    """(rows, seed) to columns: the market the default model is trained on; a problem that
    somebody's table declared has none."""
    slices: tuple[str, ...]
    """Features whose quintiles are watched for coverage, besides the predicted value."""
    layouts: Mapping[str, Layout]
    lookup: Lookup | None = None
    order: tuple[str, ...] = ()
    """Columns of a table that say when its rows happened, where that is not the column `time`."""
    declared: Mapping[str, Any] | None = None
    """The whole problem as plain JSON values, where no file declares it but somebody's own table:
    it goes into the card, and `problems.declared` makes the problem from it again."""
