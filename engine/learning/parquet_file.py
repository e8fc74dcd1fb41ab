"""A Parquet file as a table."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


def read_parquet(path: Path) -> pd.DataFrame:
    """With the categories that pandas declared: numbers that are categories are stored as numbers,
    and read as such, but what pandas adds to the file keeps what they were."""
    frame = pd.read_parquet(path)
    columns = (pq.read_schema(path).pandas_metadata or {}).get("columns", [])
    names = [column["name"] for column in columns if column["pandas_type"] == "categorical"]
    return frame.astype({name: "category" for name in names if name in frame})
