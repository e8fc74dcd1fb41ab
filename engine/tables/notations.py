"""How people write numbers and dates that a program cannot calculate with: 1,234 and $5 and
31.01.2024."""

import re
from datetime import date
from typing import Any

import pandas as pd

from engine.tables.cells import as_names, as_numbers

_SIGN = r"[$€£¥₹₽₩₺฿]"
_CODE = (
    "(?:AED|AUD|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD"
    "|PHP|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR)"
)
"""Letters are money only where they are a currency's and stand apart: SKU123 is a name."""
_GROUPED = (
    r"\d{1,3}(?:(?P<between>[,.'\u2019\s])\d{3})(?:(?P=between)\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}"
)
"""Digits in threes, or as in India, with one sign between all of them."""
_DIGITS = rf"(?:(?:{_GROUPED}|\d+)(?:[.,]\d+)?|[.,]\d+)"
_BEFORE = rf"(?:{_SIGN}\s*|{_CODE}\s+)?"
_AFTER = rf"(?:\s*[kKM])?(?:\s*(?:%|{_SIGN})|\s+{_CODE})?"
_DECORATED = re.compile(
    rf"(?P<open>\()?[-+\u2212]?\s*{_BEFORE}[-+\u2212]?{_DIGITS}{_AFTER}(?(open)\))"
)
_DATES = re.compile(
    r"\d{4}[-/.](\d{1,2}[-/.]\d{1,2}([T\s].*)?|0[1-9]|1[0-2])"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})(\s.*)?"
    r"|\d{8}T\d{4,6}.*"
    r"|\d{1,2}[-\s][A-Za-z]{3,9}\.?[-\s,]+\d{2,4}(\s.*)?"
    r"|[A-Za-z]{3,9}\.?\s\d{1,2},?\s\d{4}(\s.*)?"
)
MOSTLY = 0.95
"""The share of cells that decides what a column is; the other cells are set aside as bad rows."""


def number_as_text(cells: "pd.Series[Any]") -> str | None:
    """One of the cells, where they are numbers for people: 1,234 or $5 or 12%."""
    plain = as_numbers(cells).notna()
    decorated = ~plain & _matching(_DECORATED, cells)
    is_so = (plain | decorated).mean() >= MOSTLY and decorated.any()
    return str(cells[decorated].iloc[0])[:25] if is_so else None


def is_dated(cells: "pd.Series[Any]") -> bool:
    """Dates as such, as texts, or as numbers such as 20240131."""
    if pd.api.types.is_datetime64_any_dtype(cells) or isinstance(cells.iloc[0], date):
        return True
    if pd.api.types.is_bool_dtype(cells):
        return False
    if pd.api.types.is_numeric_dtype(cells):
        if not (cells % 1 == 0).all() or not cells.between(19_000_101, 21_001_231).all():
            return False
        days = pd.to_datetime(cells.astype(int).map(str), format="%Y%m%d", errors="coerce")
        return bool(days.notna().all())
    return bool(_matching(_DATES, as_names(cells)).mean() >= MOSTLY)


def _matching(pattern: re.Pattern[str], cells: "pd.Series[Any]") -> "pd.Series[bool]":
    return cells.map(lambda cell: pattern.fullmatch(cell.strip()) is not None).astype(bool)
