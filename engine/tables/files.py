"""Reads a CSV or Parquet file as a table, or says why that is impossible."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from engine.domain.errors import UnusableTable

_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
"""Separators that other programs write between columns, with their names."""


def read_file(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a table; raises UnusableTable when it is not one."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnusableTable(f"{path}: give a .csv or a .parquet file, not {path.suffix!r}")
    try:
        frame = reader(path)
    except FileNotFoundError as error:
        raise UnusableTable(f"{path} does not exist") from error
    except UnicodeError as error:
        raise UnusableTable(
            f"{path} cannot be read as a table: it is not UTF-8 text; save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise UnusableTable(f"{path} cannot be read as a table: {first_line(error)}") from error
    if frame.empty:
        raise UnusableTable(f"{path} holds no rows")
    return frame


def tables_in(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the tables in them; raises UnusableTable for an empty one."""
    files: list[Path] = []
    for place in places:
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        found = [file for file in inside if file == place or file.suffix.lower() in _READERS]
        if not found:
            raise UnusableTable(f"{place} holds no .csv and no .parquet file")
        files += found
    return files


def _read_csv(path: Path) -> pd.DataFrame:
    """pandas alone would guess where a file is unclear.

    Raises ValueError, a UnicodeDecodeError where the file is not UTF-8, for what is not columns
    between commas, for two columns of one name, and for rows that are longer than the header.
    """
    header = _header_of(path)
    if len(header) == 1:
        for separator, called in _SEPARATORS.items():
            if separator in header[0]:
                raise ValueError(f"its columns are separated by {called}: save it with commas")
    _refuse_twins(header)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # pandas would take the first column of longer rows for the names of the rows
            return pd.read_csv(path, low_memory=False, index_col=False)
        except pd.errors.ParserWarning as error:
            raise ValueError(
                f"its rows have more cells than its header has names ({len(header)}): name every "
                "column, and put quotes around cells with a comma"
            ) from error


def _header_of(path: Path) -> list[str]:
    """The names of the columns in the first line that is not blank; raises UnicodeError where zero
    bytes show that each character has two bytes."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            names = next((cells for cells in csv.reader(file) if any(map(str.strip, cells))), [])
        except csv.Error as error:
            raise ValueError(f"its header cannot be read: {error}") from error
    if any("\0" in name for name in names):
        raise UnicodeError("a zero byte in the header")
    return names


def _refuse_twins(names: list[str]) -> None:
    """Raises ValueError where columns share a name; those without one are told apart by place."""
    twins = [name for name in dict.fromkeys(names) if name.strip() and names.count(name) > 1]
    if twins:
        stand = "column {} appears" if len(twins) == 1 else "columns {} appear"
        raise ValueError(
            f"the {stand.format(', '.join(twins))} more than once: give each column its own name"
        )


def _read_parquet(path: Path) -> pd.DataFrame:
    """With the categories that pandas declared: numbers that are categories are stored as numbers,
    and read as such, but what pandas adds to the file keeps what they were."""
    frame = pd.read_parquet(path)
    columns = (pq.read_schema(path).pandas_metadata or {}).get("columns", [])
    names = [column["name"] for column in columns if column["pandas_type"] == "categorical"]
    return frame.astype({name: "category" for name in names if name in frame})


_READERS = {".csv": _read_csv, ".parquet": _read_parquet}


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
