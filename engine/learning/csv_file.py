"""A CSV file as a table, or why it is none; pandas alone would guess where a file is unclear."""

import csv
import warnings
from pathlib import Path

import pandas as pd

SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
"""What other programs write between columns, and how it is called."""


def read_csv(path: Path) -> pd.DataFrame:
    """Raises ValueError, a UnicodeDecodeError where the file is not UTF-8, for what is not columns
    between commas, for two columns of one name, and for rows that are longer than the header."""
    header = header_of(path)
    if len(header) == 1:
        for separator, called in SEPARATORS.items():
            if separator in header[0]:
                raise ValueError(f"its columns are separated by {called}: save it with commas")
    refuse_twins(header)
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


def header_of(path: Path) -> list[str]:
    """The names of the columns as they stand in the first line that is not blank; raises
    UnicodeError where zero bytes tell that each character has two."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            names = next((cells for cells in csv.reader(file) if any(map(str.strip, cells))), [])
        except csv.Error as error:
            raise ValueError(f"its header is none: {error}") from error
    if any("\0" in name for name in names):
        raise UnicodeError("a zero byte in the header")
    return names


def refuse_twins(names: list[str]) -> None:
    """Raises ValueError where columns share a name; those without one are told apart by place."""
    twins = [name for name in dict.fromkeys(names) if name.strip() and names.count(name) > 1]
    if twins:
        stand = "column {} stands" if len(twins) == 1 else "columns {} stand"
        raise ValueError(f"the {stand.format(', '.join(twins))} there twice: rename one of them")
