"""From a file, or a simulation, to rows that keep the schema; what breaks it is set aside."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.domain.errors import UnusableTable
from engine.domain.problem import Columns, Problem
from engine.domain.schema import Column, Matrix, Number, Target, Vector

FEWEST_ROWS = 200
FEWEST_GROUPS = 50
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, low_memory=False),
    ".parquet": pd.read_parquet,
}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that keep the schema: (n, features), their target (n,), and who belongs together.

    `groups` (n,) are integers; rows of one group stay on one side of every split. `times` (n,)
    are numbers that ascend with time, or None where the table does not say when a row happened.
    """

    rows: Matrix
    target: Vector
    groups: NDArray[np.int64]
    times: NDArray[np.int64] | None
    source: str

    def __len__(self) -> int:
        return len(self.target)

    def take(self, at: Any) -> "Table":
        times = None if self.times is None else self.times[at]
        return Table(self.rows[at], self.target[at], self.groups[at], times, self.source)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all numbers: equal tables have equal fingerprints."""
        return hashlib.sha256(self.rows.tobytes() + self.target.tobytes()).hexdigest()


def row_hashes(table: Table) -> NDArray[np.uint64]:
    """One number a row (n,), from its features and target: equal rows have equal numbers."""
    return hashes(table.rows, table.target)


def hashes(rows: Matrix, target: Vector) -> NDArray[np.uint64]:
    joined = np.column_stack((rows, target))
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in joined)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


@dataclass(frozen=True)
class Rejected:
    """Rows that were set aside: one line for each broken rule; row 1 is the first of the file."""

    report: pd.DataFrame
    rows: int
    of: int

    @property
    def share(self) -> float:
        return self.rows / self.of if self.of else 0.0


def read_file(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a table; raises UnusableTable when it is not one."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UnusableTable(f"{path}: give a .csv or a .parquet file, not {path.suffix!r}")
    try:
        frame = reader(path)
    except FileNotFoundError as error:
        raise UnusableTable(f"{path} does not exist") from error
    except (OSError, ValueError, UnicodeError) as error:
        raise UnusableTable(f"{path} cannot be read as a table: {first_line(error)}") from error
    if frame.empty:
        raise UnusableTable(f"{path} holds no rows")
    twice = [str(name) for name in frame.columns if re.fullmatch(r".+\.\d+", str(name))]
    twice = [name for name in twice if name.rpartition(".")[0] in frame]
    if twice:
        raise UnusableTable(f"{path}: the column {twice[0].rpartition('.')[0]} stands there twice")
    return frame


def translate(problem: Problem, frame: pd.DataFrame, layout: str | None) -> Columns:
    """A foreign table in the problem's columns; raises UnusableTable when it is not that layout."""
    if layout is None:
        return {str(name): frame[name] for name in frame.columns}
    try:
        return problem.layouts[layout].translate(frame)
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableTable(
            f"the table is not in the layout {layout}: {first_line(error)}"
        ) from error


def gather(problem: Problem, files: Sequence[Path], layout: str | None) -> pd.DataFrame:
    """Some files, or all tables of some folders, one below the other, in the problem's columns."""
    tables = [translate(problem, read_file(file), layout) for file in tables_in(files)]
    return pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)


def tables_in(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the tables in them; raises UnusableTable for an empty one."""
    files: list[Path] = []
    for place in places:
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        found = [file for file in inside if file == place or file.suffix.lower() in READERS]
        if not found:
            raise UnusableTable(f"{place} holds no .csv and no .parquet file")
        files += found
    return files


def check(problem: Problem, columns: Columns | pd.DataFrame, source: str) -> tuple[Table, Rejected]:
    """Split a table into rows that keep the schema and a report on those that break it.

    Raises UnusableTable when a column is missing or what is left cannot be learned from.
    """
    frame = pd.DataFrame(columns).reset_index(drop=True)
    wanted: list[Column | Target] = [*problem.schema.columns, problem.target]
    missing = [column.name for column in wanted if column.name not in frame]
    if missing:
        present = ", ".join(map(str, frame.columns))
        raise UnusableTable(f"{source} lacks {', '.join(missing)}; it has {present}")
    numbers = frame[[c.name for c in wanted]].apply(as_numbers).astype(float)
    times = as_times(frame["time"]) if "time" in frame else None
    findings = pd.concat([_findings(frame, numbers, column) for column in wanted])
    if times is not None:
        findings = pd.concat((findings, _timeless(frame["time"], times)))
    bad = sorted(set(findings["row"]))
    good = numbers.drop(index=[row - 1 for row in bad])
    rows = problem.schema.encode(records(good))
    target = good[problem.target.name].to_numpy()
    alone = pd.Series(hashes(rows, target), index=good.index).astype(str)
    table = Table(
        rows=rows,
        target=target,
        groups=as_groups(frame.loc[good.index], alone),
        times=None if times is None else times[good.index].to_numpy().astype(np.int64),
        source=source,
    )
    return table, Rejected(findings.sort_values(["row", "column"]), len(bad), len(frame))


def records(frame: pd.DataFrame) -> list[dict[str, float]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def as_numbers(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers, and NaN for what is none; `true` is none."""
    return pd.to_numeric(
        values.mask(values.map(lambda value: isinstance(value, bool))), errors="coerce"
    )


def as_times(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers as they are, ISO 8601 dates as seconds, and NaN for what is neither."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().any():
        return numbers
    dates = pd.to_datetime(values.astype(str), format="ISO8601", errors="coerce", utc=True)
    return (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def as_groups(frame: pd.DataFrame, alone: "pd.Series[Any]") -> NDArray[np.int64]:
    """Who belongs together (n,); a row that names no group belongs to rows equal to it."""
    named = frame["group"] if "group" in frame else pd.Series(None, index=frame.index, dtype=object)
    groups = ("group " + named.astype(str)).where(named.notna(), "row " + alone)
    return pd.factorize(groups)[0].astype(np.int64)


def refuse_unlearnable(table: Table, rejected: Rejected, *, max_bad_share: float) -> None:
    """Raises UnusableTable when too much was set aside, too little is left, or nothing varies."""
    if rejected.share > max_bad_share:
        raise UnusableTable(
            f"{rejected.rows} of {rejected.of} rows break the schema, more than the "
            f"{max_bad_share:.1%} that may be set aside"
        )
    if len(table) < FEWEST_ROWS:
        raise UnusableTable(
            f"{table.source} has {len(table)} usable rows; intervals need at least {FEWEST_ROWS}"
        )
    if len(np.unique(table.groups)) < FEWEST_GROUPS:
        raise UnusableTable(f"{table.source}: fewer than {FEWEST_GROUPS} groups cannot be split")
    if np.ptp(table.target) == 0:
        raise UnusableTable(f"{table.source}: the target is {table.target[0]:g} in every row")


def _findings(frame: pd.DataFrame, numbers: pd.DataFrame, column: Column | Target) -> pd.DataFrame:
    """What one column gets wrong: row, column, rule and the value as it stands in the file."""
    values = numbers[column.name]
    rules = pd.Series("", index=frame.index)
    is_whole = isinstance(column, Number) and column.is_whole
    if is_whole:
        rules[values % 1 != 0] = "must be a whole number"
    rules[values < column.low] = f"must be at least {column.low:g}"
    rules[values > column.high] = f"must be at most {column.high:g}"
    rules[values.isna()] = "must be a number"
    rules[frame[column.name].isna()] = "must not be missing"
    bad = frame.index[rules != ""]
    return pd.DataFrame(
        {
            "row": bad + 1,
            "column": column.name,
            "rule": rules[bad].to_numpy(),
            "value": frame[column.name][bad].astype(str).str.slice(0, 80).to_numpy(),
        }
    )


def _timeless(values: "pd.Series[Any]", times: "pd.Series[Any]") -> pd.DataFrame:
    bad = values.index[times.isna()]
    shown = values[bad].astype(str).str.slice(0, 80).to_numpy()
    rule = "must be a number or an ISO 8601 date"
    return pd.DataFrame({"row": bad + 1, "column": "time", "rule": rule, "value": shown})


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
