"""When each row of a table happened: by a column of dates or numbers, or by calendar columns."""

import re
from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.errors import UnusableTable
from engine.domain.schema import Vector
from engine.tables.cells import as_names, as_numbers, is_blank
from engine.tables.notations import MOSTLY, is_dated

TIME = "time"
"""The column that orders the rows; one of another name becomes this one."""
_CALENDAR = ("year", "month", "day", "hour", "minute", "second")
"""Columns that say together when a row happened; year and month at least."""
_TELLING = re.compile(r"(date|day|time|datetime|timestamp)", re.I)
_BIRTH = re.compile(r"birth|born|dob", re.I)
_DATES = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d-%m-%y", "%d.%m.%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y"),
    *("%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
"""Notations besides ISO 8601; of two that fit all rows the first is used."""
_CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_TRIED_ROWS = 1_000
ALIKE = 0.3


def as_times(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers as they are, or dates as seconds, whichever are more, and NaN for the others and for
    what is neither."""
    cells = cells.astype(object)
    if are_numbers(cells):
        return as_numbers(cells).replace([np.inf, -np.inf], np.nan)
    return (_as_dates(cells) - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def are_numbers(times: "pd.Series[Any]") -> bool:
    """Whether times are mostly numbers: the others are dates, of which some may be a year alone."""
    cells = times.astype(object)  # else pandas makes numbers of dates, even of missing ones
    return bool(2 * as_numbers(cells).notna().sum() > (~is_blank(cells)).sum())


def _as_dates(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Moments in UTC, in the notation that most cells are in; NaT for the others."""
    texts = as_names(cells)
    known = texts.dropna()
    some = known.iloc[np.linspace(0, len(known) - 1, min(len(known), _TRIED_ROWS)).astype(int)]
    iso = _read_as("ISO8601", some).notna().mean() if len(some) else 1.0
    if iso >= MOSTLY:
        return _read_as("ISO8601", texts)
    notations = ["ISO8601", *(f"{day}{clock}" for clock, day in product(_CLOCKS, _DATES))]
    best = max(notations, key=lambda notation: _read_as(notation, some).notna().sum())
    return _read_as(best, texts)


def _read_as(notation: str, texts: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.to_datetime(texts, format=notation, errors="coerce", utc=True)


def timed(frame: pd.DataFrame, order: Sequence[str], source: str) -> pd.DataFrame:
    """A table with the column `time`, made of the columns that order its rows; as it is where it
    has that column, or where none are named. Raises UnusableTable where one of them is missing."""
    if TIME in frame or not order:
        return frame
    lacking = [name for name in order if name not in frame]
    if lacking:
        raise UnusableTable(f"{source} lacks {', '.join(lacking)}, which orders its rows")
    return frame.assign(**{TIME: moments_of(frame, order)})


def moments_of(frame: pd.DataFrame, order: Sequence[str]) -> "pd.Series[Any]":
    """Numbers, or ISO 8601 texts, or the original cell where it is neither, (n,)."""
    parts = {part: name for name in order if (part := part_of(name))}
    if len(parts) > 1:
        numbers = {part: as_numbers(frame[name]) for part, name in parts.items()}
        whole = pd.DataFrame({"day": 1, **numbers}, index=frame.index)
        dates = pd.to_datetime(whole, errors="coerce", utc=True)
        written = frame[[*order]].astype(str).agg(" ".join, axis=1)
    else:
        written = frame[order[0]]
        if are_numbers(written) and not is_dated(written[~is_blank(written)]):
            return written
        dates = _as_dates(written)
    texts = dates.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").astype(object)
    return texts.where(dates.notna(), written.astype(object))


def part_of(name: str) -> str | None:
    """Which part of the calendar a column is called by, if any."""
    plain = name.strip().lower()
    return plain if plain in _CALENDAR else None


def order_in(frame: pd.DataFrame, but: Collection[str], max_bad_share: float) -> tuple[str, ...]:
    """The columns of a table that say when its rows happened, as far as names and cells tell: one
    of dates without gaps, or a calendar's. None where there is nothing of the kind."""
    names = [str(name) for name in frame.columns if str(name) not in but]
    if TIME in names:
        return (TIME,)
    dates = [name for name in names if _tells_when(name, frame[name], max_bad_share)]
    if dates:
        return (next((name for name in dates if _TELLING.fullmatch(name)), dates[0]),)
    parts = {part: name for name in names if (part := part_of(name))}
    is_calendar = {"year", "month"} <= parts.keys()
    return tuple(parts[part] for part in _CALENDAR if part in parts) if is_calendar else ()


def _tells_when(name: str, cells: "pd.Series[Any]", max_bad_share: float) -> bool:
    """Whether a column is one of dates that most rows have; a date of birth is another matter."""
    filled = cells[~is_blank(cells)]
    if filled.empty or _BIRTH.search(name) or not is_dated(filled):
        return False
    return bool(_as_dates(cells).isna().mean() <= max_bad_share)


def likeness(target: Vector) -> float:
    """The rank correlation of a target (n,) with that of the row before: near 0 where rows stand in
    no order that has to do with it, high where they follow in time, or are sorted."""
    ranks = pd.Series(target).rank().to_numpy()
    before, after = ranks[:-1], ranks[1:]
    return float(np.corrcoef(before, after)[0, 1]) if np.ptp(before) and np.ptp(after) else 0.0
