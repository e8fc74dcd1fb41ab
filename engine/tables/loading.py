"""From files or columns to a table to learn from; what cannot be used is shown and listed."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from engine.domain.problem import Columns, Problem
from engine.learning.refuse import refuse_unlearnable
from engine.reports.terminal import console, show_rejected
from engine.tables.table import Table, check, gather


def load(
    problem: Problem,
    files: Sequence[Path],
    *,
    layout: str | None,
    reports: Path,
    max_bad_share: float,
) -> Table:
    """The rows of some files that keep the schema; the others go into a report.

    Raises UnusableTable when a file cannot be read or too little is left to learn from.
    """
    source = ", ".join(file.name for file in files)
    columns = gather(problem, files, layout)
    return checked(problem, columns, source, reports=reports, max_bad_share=max_bad_share)


def checked(
    problem: Problem,
    columns: Columns | pd.DataFrame,
    source: str,
    *,
    reports: Path,
    max_bad_share: float,
) -> Table:
    """The rows that keep the schema; raises UnusableTable when too little is left."""
    table, rejected = check(problem, columns, source)
    console.print(f"{source}: {len(table):,} rows to learn from")
    if rejected.rows:
        show_rejected(rejected, reports / "rejected_rows.csv")
    for name, count in rejected.unknown.items():
        console.print(f"{name}: {count:,} rows name an unknown category, taken as missing")
    refuse_unlearnable(problem, table, rejected, max_bad_share=max_bad_share)
    return table
