"""The table that is scored: one file or a folder of them, in chunks of a fixed number of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.domain.errors import UnusableTable
from engine.scoring.formats import FORMATS, SUFFIXES, Format, format_of

_LONGEST_REASON = 200


@dataclass(frozen=True)
class Source:
    """Files of one format, one below the other; all have the columns of `schema`. `rows` where the
    files say how many."""

    name: str
    files: tuple[Path, ...]
    format: str
    schema: Any
    rows: int | None

    @property
    def is_untyped(self) -> bool:
        return FORMATS[self.format].is_untyped

    @property
    def fingerprint(self) -> list[list[str | int]]:
        """Changes when a file does."""
        seen = ((file, file.stat()) for file in self.files)
        return [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in seen]

    def chunks(self, rows: int) -> Iterator[Any]:
        """The same chunks whenever they are asked for: all but a file's last have so many rows.

        Raises UnusableTable where a file cannot be read to its end.
        """
        for file in self.files:
            try:
                yield from _regrouped(self._batches(file), rows)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(file, error) from error

    def _batches(self, file: Path) -> Iterator[Any]:
        for batch in FORMATS[self.format].open(file).batches():
            columns = [batch[field.name].cast(field.type) for field in self.schema]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)


def open_source(place: Path) -> Source:
    """Raises UnusableTable for what is no table, or for tables whose columns differ."""
    files = _files_in(place)
    kinds = {str(format_of(file)) for file in files}
    if len(kinds) > 1:
        raise UnusableTable(f"{place} holds tables of several formats: {', '.join(sorted(kinds))}")
    name = kinds.pop()
    schemas, counts = zip(*(_looked_at(FORMATS[name], file) for file in files), strict=True)
    rows = None if None in counts else sum(counts)
    return Source(str(place), tuple(files), name, _common(files, schemas), rows)


def _files_in(place: Path) -> list[Path]:
    known = ", ".join(SUFFIXES)
    if not place.exists():
        raise UnusableTable(f"{place} does not exist")
    if place.is_file() and format_of(place) is None:
        raise UnusableTable(f"{place}: give a file that ends in one of {known}")
    inside = sorted(place.iterdir()) if place.is_dir() else [place]
    hidden = ("_", ".")
    files = [one for one in inside if format_of(one) and not one.name.startswith(hidden)]
    if not files:
        raise UnusableTable(f"{place} holds no file that ends in one of {known}")
    return files


def _looked_at(kind: Format, file: Path) -> tuple[Any, int | None]:
    """Its columns and its rows; it is closed again, for there may be thousands of files."""
    try:
        found = kind.open(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    names = found.schema.names
    twins = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twins:
        raise UnusableTable(f"{file}: the column {twins[0]} appears more than once")
    return found.schema, found.rows


def _common(files: Sequence[Path], schemas: Sequence[Any]) -> Any:
    """The columns of the first file, in types that hold all files' cells."""
    for file, schema in zip(files, schemas, strict=True):
        apart = set(schema.names) ^ set(schemas[0].names)
        if apart:
            raise UnusableTable(
                f"{file} has other columns than {files[0]}: {', '.join(sorted(apart))}"
            )
    try:
        whole = pa.unify_schemas([*map(_plain, schemas)], promote_options="permissive")
    except pa.ArrowException as error:
        raise UnusableTable(f"the tables' columns are of different types: {error}") from error
    return whole.remove_metadata()


def _plain(schema: Any) -> Any:
    """Without dictionaries: each batch may have its own, and not every format can write that."""
    types = (
        field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in schema
    )
    return pa.schema([(name, each) for name, each in zip(schema.names, types, strict=True)])


def _regrouped(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    waiting: list[Any] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            head = batch.slice(0, rows - count)
            yield _joined([*waiting, head])
            batch, waiting, count = batch.slice(rows - count), [], 0
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Any]) -> Any:
    """One batch that holds its own rows and no more: it is sent to another process."""
    return pa.concat_batches(batches)


def _unreadable(path: Path, error: Exception) -> UnusableTable:
    reason = str(error).splitlines()[0][:_LONGEST_REASON]
    return UnusableTable(f"{path} cannot be read as a table: {reason}")
