"""How one cell is read, whoever wrote it: a table in a file, a feature store, or a request's JSON.

There is one way to read a cell, for training, serving, loading features and replay alike. So a row
means to a service what it meant to the model that learned from it.
"""

import math
from typing import Any

_MISSING = frozenset(
    {
        *(
            "",
            "#N/A",
            "#N/A N/A",
            "#NA",
            "-1.#IND",
            "-1.#QNAN",
            "-NaN",
            "-nan",
            "1.#IND",
            "1.#QNAN",
        ),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""What people and programs write for a missing value: the words that pandas reads as missing."""
_NOTHING = "|".join(sorted(word.replace(".", r"\.") for word in _MISSING - {""}))
_NUMBER = r"[+-]?([0-9]{1,20}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9])?"
NUMBER_AS_TEXT = rf"^[ \t]*({_NUMBER}|{_NOTHING})?[ \t]*$"
"""A regular expression for documents: texts that `number` reads, all of them below 1e30."""


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, blanks, or a word for nothing."""
    if isinstance(cell, str):
        return cell.strip() in _MISSING
    return cell is None or cell != cell


def number(cell: Any) -> float | None:
    """A number, a text that is one, or a boolean as 1 or 0; None where there is nothing.

    Raises ValueError for anything else, also for an infinite number.
    """
    if is_missing(cell):
        return None
    try:
        value = math.nan if isinstance(cell, str) and "_" in cell else float(cell)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("must be a number")
    return value


def name(cell: Any) -> str | None:
    """A text without blanks around it, or a number or a boolean as text; None where there is
    nothing.

    A whole number is written without its point: one missing cell makes pandas read 1 as 1.0.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
