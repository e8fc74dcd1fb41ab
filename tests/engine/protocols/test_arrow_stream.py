"""Arrow streams are read as they were written, by nanoarrow or by pyarrow, and never guessed."""

import io
import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.domain.errors import InvalidInput, MalformedBody
from engine.domain.schema import Schema
from engine.domain.table import ReplyTable
from engine.protocols.arrow_stream import read_arrow, write_arrow

NO_SCHEMA = Schema(())
TABLE = pa.table(
    {
        "int32": pa.array([1, 2, None, 4, 5], pa.int32()),
        "uint8": pa.array([1, 2, 3, 4, 255], pa.uint8()),
        "float32": pa.array([1.5, None, 0.1, 4, 5], pa.float32()),
        "double": np.array([0.1, -0.0, 1e300, 4, 5]),
        "bool": pa.array([True, None, False, True, True]),
        "text": pa.array(["a", None, "", "é", "zz"]),
        "large": pa.array(["a", "b", "c", "d", "e"], pa.large_string()),
        "dictionary": pa.array(["u", "v", None, "u", "w"]).dictionary_encode(),
        "nothing": pa.nulls(5),
    }
)
MOST = 1_000


def stream(table: Any, rows_a_batch: int = 10**9, **options: Any) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=rows_a_batch):
            writer.write_batch(batch)
    return out.getvalue()


def cells(body: bytes) -> dict[str, list[Any]]:
    read = read_arrow(NO_SCHEMA, MOST, body).columns
    return {n: c if isinstance(c, list) else c.tolist() for n, c in read.items()}


@pytest.mark.parametrize("rows_a_batch", [1, 2, 5])
def test_every_supported_type_is_read_in_any_number_of_batches(rows_a_batch: int) -> None:
    assert cells(stream(TABLE, rows_a_batch)) == TABLE.to_pydict()


def test_a_part_of_a_longer_table_is_that_part() -> None:
    part = TABLE.slice(1, 3)
    assert cells(stream(part)) == part.to_pydict()


def test_no_rows_are_no_rows() -> None:
    assert cells(stream(TABLE.slice(0, 0))) == {name: [] for name in TABLE.column_names}


@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.date32(), pa.decimal128(5, 2), pa.list_(pa.int8()), pa.binary()]
)
def test_another_type_is_refused_by_the_name_of_its_column(type_: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_arrow(NO_SCHEMA, MOST, stream(pa.table({"a": [1], "b": pa.nulls(1, type_)})))
    (violation,) = refused.value.violations
    assert (violation.pointer, violation.field) == ("/columns/b", "b")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_stream_is_refused_before_it_is_unpacked(codec: str) -> None:
    with pytest.raises(MalformedBody, match="without compression"):
        read_arrow(NO_SCHEMA, MOST, stream(TABLE, compression=codec))


def test_of_too_many_rows_only_the_number_is_told() -> None:
    many = stream(pa.table({"a": pa.nulls(10**7)}))
    assert len(many) < 1_000
    table = read_arrow(NO_SCHEMA, MOST, many)
    assert (table.rows, table.columns) == (10**7, {})


def test_two_columns_of_one_name_are_refused() -> None:
    twins = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(MalformedBody, match="'a' appears more than once"):
        read_arrow(NO_SCHEMA, MOST, stream(twins))


def test_a_damaged_stream_is_refused_or_read_and_never_more() -> None:
    """No byte of it makes the process fail, or takes it out of the stream."""
    whole, rng = stream(TABLE, 2), random.Random(1)  # noqa: S311 - damage, no secret
    for _ in range(3_000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(damaged))
            damaged[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        try:
            read_arrow(NO_SCHEMA, MOST, bytes(damaged))
        except (MalformedBody, InvalidInput):
            continue
    for end in range(0, len(whole), 7):
        with pytest.raises(MalformedBody):
            read_arrow(NO_SCHEMA, MOST, whole[:end])


def test_a_stream_whose_messages_never_end_is_refused() -> None:
    with pytest.raises(MalformedBody):
        read_arrow(NO_SCHEMA, MOST, b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1))


def test_pyarrow_reads_what_is_written() -> None:
    columns: dict[str, list[Any]] = {
        "id": ["a", "é"],
        "x": [1.5, None],
        "n": [1, 2],
        "t": ["u", None],
        "no": [None] * 2,
    }
    reply = ReplyTable(columns, [["w", "ö"], []], {"confidence": 0.9, "version": "v1"})
    assert pa.ipc.open_stream(write_arrow(reply)).read_all().to_pydict() == {
        **columns,
        "warnings": [["w", "ö"], []],
        "confidence": [0.9, 0.9],
        "version": ["v1", "v1"],
    }
