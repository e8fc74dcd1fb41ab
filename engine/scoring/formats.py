"""Tables in files, read and written in batches: Parquet, CSV and Arrow, one table of formats."""

import csv
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

_ARROW_FILE = b"ARROW1"
_READ_AHEAD = 1 << 20
"""Bytes of each column that are read ahead, however large a row group is."""
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class _Opened:
    """A file: its columns, its rows where it says how many, and its batches."""

    schema: Any
    rows: int | None
    batches: Callable[[], Iterator[Any]]


_Add = Callable[[Path], None]


@dataclass(frozen=True)
class Format:
    """`is_untyped` where the cells are all text. `write` puts one batch into a file, which
    is a table of its own (True) or a piece of one; `merging` makes one table of pieces, which are
    given one after the other."""

    suffix: str
    is_untyped: bool
    open: Callable[[Path], _Opened]
    write: Callable[[Any, Path, bool], None]
    merging: Callable[[Path, Any], AbstractContextManager[_Add]]


def _open_parquet(path: Path) -> _Opened:
    file = pq.ParquetFile(path, buffer_size=_READ_AHEAD, pre_buffer=False)
    rows: int = file.metadata.num_rows
    return _Opened(file.schema_arrow, rows, lambda: iter(file.iter_batches(_BATCH_ROWS)))


def _open_csv(path: Path) -> _Opened:
    """Every cell as the text it is; an empty one is null, and one of two quotes an empty text."""
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as head:
        names = head.schema.names
    schema = pa.schema([(name, pa.string()) for name in names])
    convert = pyarrow.csv.ConvertOptions(
        column_types=schema,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )

    def batches() -> Iterator[Any]:
        yield from pyarrow.csv.open_csv(path, parse_options=parse, convert_options=convert)

    return _Opened(schema, None, batches)


def _open_arrow(path: Path) -> _Opened:
    """A file or a stream, whichever it is."""
    mapped = pa.memory_map(str(path))
    if mapped.read(len(_ARROW_FILE)) != _ARROW_FILE:
        mapped.seek(0)
        return _Opened(pa.ipc.open_stream(mapped).schema, None, lambda: _stream_of(path))
    mapped.seek(0)
    file = pa.ipc.open_file(mapped)
    numbers = range(file.num_record_batches)
    return _Opened(file.schema, None, lambda: (file.get_batch(number) for number in numbers))


def _stream_of(path: Path) -> Iterator[Any]:
    with pa.OSFile(str(path)) as file:
        yield from pa.ipc.open_stream(file)


def _parquet_writer(path: Path, schema: Any) -> Any:
    """Predictions hardly repeat, and ids differ in their end only: a dictionary would be waste."""
    added = [name for name in schema.names if not name.endswith(_DIFFERENT)]
    ids = [name for name in schema.names if name.endswith(_ID)]
    return pq.ParquetWriter(
        path,
        schema,
        use_dictionary=added,
        column_encoding=dict.fromkeys(ids, "DELTA_BYTE_ARRAY"),
        write_page_index=False,
    )


_ID = "prediction_id"
_DIFFERENT = (_ID, "value", "lower", "upper")


def _write_parquet(batch: Any, path: Path, is_table: bool) -> None:
    with _parquet_writer(path, batch.schema) as writer:
        writer.write_batch(batch)


@contextmanager
def _merging_parquet(path: Path, schema: Any) -> Iterator[_Add]:
    with _parquet_writer(path, schema) as writer:
        yield lambda part: writer.write_table(pq.read_table(part, use_threads=False))


def _write_csv(batch: Any, path: Path, is_table: bool) -> None:
    """A piece has no header, so that pieces are joined as they are. Quotes only where needed."""
    for quotes in ("none", "needed"):
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=quotes)
        try:
            with path.open("wb") as file:
                file.write(_header_of(batch.schema) if is_table else b"")
                pyarrow.csv.write_csv(batch, file, options)
            return
        except pa.ArrowInvalid:
            if quotes == "needed":
                raise


def _header_of(schema: Any) -> bytes:
    header = StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    return header.getvalue().encode()


@contextmanager
def _merging_csv(path: Path, schema: Any) -> Iterator[_Add]:
    with path.open("wb") as file:
        file.write(_header_of(schema))

        def add(part: Path) -> None:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file, _READ_AHEAD)

        yield add


def _arrow_format(suffix: str, writer_of: Callable[[str, Any], Any]) -> Format:
    def write(batch: Any, path: Path, is_table: bool) -> None:
        with writer_of(str(path), batch.schema) as writer:
            writer.write_batch(batch)

    @contextmanager
    def merging(path: Path, schema: Any) -> Iterator[_Add]:
        with writer_of(str(path), schema) as writer:

            def add(part: Path) -> None:
                for batch in _open_arrow(part).batches():
                    writer.write_batch(batch)

            yield add

    return Format(suffix, False, _open_arrow, write, merging)


FORMATS: Mapping[str, Format] = {
    "parquet": Format(".parquet", False, _open_parquet, _write_parquet, _merging_parquet),
    "csv": Format(".csv", True, _open_csv, _write_csv, _merging_csv),
    "arrow": _arrow_format(".arrow", pa.ipc.new_file),
    "arrows": _arrow_format(".arrows", pa.ipc.new_stream),
}
"""By name; a stream of Arrow is a format of its own."""
_OTHER_SUFFIXES = {".pq": "parquet", ".feather": "arrow", ".ipc": "arrow"}
SUFFIXES = {each.suffix: name for name, each in FORMATS.items()} | _OTHER_SUFFIXES


def format_of(path: Path) -> str | None:
    """The name of the format that a file's name stands for."""
    return SUFFIXES.get(path.suffix.lower())
