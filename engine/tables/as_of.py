"""Events joined with what was known of their keys when they happened, and with nothing later."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from engine.domain.errors import UnusableTable
from engine.domain.features import Features
from engine.domain.ports import FeatureStore
from engine.domain.problem import Problem
from engine.domain.schema import Row
from engine.tables.batches import Source
from engine.tables.feature_table import BadCell, key_of, moment_of


@dataclass(frozen=True)
class _EventBatch:
    """Some events in their order, a column for each feature added; those of keys of which nothing
    was known at their time are left out, for no service could have answered them."""

    events: Any
    left_out: int


def joined(
    problem: Problem, store: FeatureStore, events: Source, *, key: str, time: str
) -> Iterator[_EventBatch]:
    """Event by event what `store.get` says of its key at its time, looked up once a batch.

    Raises UnusableTable, naming the row, for an invalid key or time, and where a column of
    the events has the name of a feature; FeaturesUnavailable.
    """
    events.require(key, time)
    twice = [name for name in problem.schema.names if name in events.columns]
    if twice:
        raise UnusableTable(
            f"{events.name} has {', '.join(twice)} already: leave these columns out"
        )
    first = 1
    for batch in events.batches():
        pairs = list(_pairs(batch, first, key, time=time))
        rows = _known(store, problem.name, pairs)
        found = [at for at, row in enumerate(rows) if row is not None]
        kept = batch.take(pa.array(found, pa.int64()))
        for column in problem.schema.columns:
            values = [(rows[at] or {}).get(column.name) for at in found]
            kept = kept.append_column(
                column.name, pa.array(values, pa.type_for_alias(column.storage))
            )
        yield _EventBatch(kept, len(rows) - len(found))
        first += len(rows)


def _pairs(batch: Any, first: int, key: str, *, time: str) -> Iterator[tuple[str, str]]:
    """Key and time of each event."""
    columns = zip(batch.column(key).to_pylist(), batch.column(time).to_pylist(), strict=True)
    for row, (named, moment) in enumerate(columns, start=first):
        try:
            yield key_of(named, key), moment_of(moment, later=False)
        except BadCell as error:
            raise UnusableTable(f"row {row}: {error.column}: {error}") from error
        except ValueError as error:
            raise UnusableTable(f"row {row}: {time}: {error}, is {str(moment)[:80]!r}") from error


def _known(store: FeatureStore, problem: str, pairs: Sequence[tuple[str, str]]) -> list[Row | None]:
    histories: defaultdict[str, list[Features]] = defaultdict(list)
    for one in store.history(problem, list(dict.fromkeys(key for key, _ in pairs))):
        histories[one.key].append(one)
    times = {key: [one.at for one in history] for key, history in histories.items()}
    rows: list[Row | None] = []
    for key, at in pairs:
        place = bisect_right(times.get(key, []), at)
        rows.append(histories[key][place - 1].row if place else None)
    return rows
