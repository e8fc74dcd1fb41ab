"""A table in batches: however long it is, only a part of it is in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from engine.domain.errors import UnusableTable
from engine.domain.problem import Columns

BATCH_ROWS = 5_000


@dataclass(frozen=True)
class Source:
    """A table that can be read again and again."""

    name: str
    columns: tuple[str, ...]
    batches: Callable[[], Iterator[Any]]

    def require(self, *names: str) -> None:
        """Raises UnusableTable when a column is missing."""
        lacking = [name for name in names if name not in self.columns]
        if lacking:
            present = ", ".join(self.columns)
            raise UnusableTable(f"{self.name} lacks {', '.join(lacking)}; it has {present}")


def of_file(path: Path) -> Source:
    """A CSV or Parquet file; raises UnusableTable, now or later, when it is not one."""
    openers = {".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in openers:
        raise UnusableTable(f"{path}: give a .csv or a .parquet file, not {path.suffix!r}")
    opened = openers[path.suffix.lower()]

    def batches() -> Iterator[Any]:
        try:
            for batch in opened(path)[1]():
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    try:
        columns = opened(path)[0]
    except FileNotFoundError as error:
        raise UnusableTable(f"{path} does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise UnusableTable(f"{path}: the column {twice} appears more than once")
    return Source(str(path), tuple(columns), batches)


def of_columns(columns: Columns, name: str) -> Source:
    table = pa.table({column: pa.array(values) for column, values in columns.items()})
    return Source(name, tuple(columns), lambda: iter(table.to_batches(max_chunksize=BATCH_ROWS)))


def _csv(path: Path) -> tuple[list[str], Callable[[], Iterator[Any]]]:
    """Every cell as the text it is."""
    options = {"parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True)}
    with pyarrow.csv.open_csv(path, **options) as head:
        names = head.schema.names
    texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return names, lambda: iter(pyarrow.csv.open_csv(path, convert_options=texts, **options))


def _parquet(path: Path) -> tuple[list[str], Callable[[], Iterator[Any]]]:
    file = pq.ParquetFile(path)
    return file.schema_arrow.names, lambda: file.iter_batches(BATCH_ROWS)


def _unreadable(path: Path, error: Exception) -> UnusableTable:
    return UnusableTable(f"{path} cannot be read as a table: {str(error).splitlines()[0][:200]}")
