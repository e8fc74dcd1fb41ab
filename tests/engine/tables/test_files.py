"""Files as tables: what is read as it stands, and what is refused because it would be guessed."""

from pathlib import Path

import pandas as pd
import pytest

from engine.domain.errors import UnusableTable
from engine.tables.cells import as_names
from engine.tables.files import read_file


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "flats.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x;c;y\n1,5;a;2\n", "its columns are separated by ';': save it with commas"),
        ("x\tc\ty\n1\ta\t2\n", "its columns are separated by tabs: save it with commas"),
        ("größe,y\n1,2\n".encode("latin-1"), "it is not UTF-8 text; save it as UTF-8"),
        ("x,c\n1,a\n2,ö\n".encode("latin-1"), "it is not UTF-8 text; save it as UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), "it is not UTF-8 text; save it as UTF-8"),
        ("x,y\n1,2\n".encode("utf-16-le"), "it is not UTF-8 text; save it as UTF-8"),
        ("x,y\n1,2,3\n4,5,6\n", "its rows have more cells than its header has names (2)"),
        ("x,y\n1,2\n4,5,6\n", "Expected 2 fields in line 3, saw 3"),
        ("x,y,x\n1,2,3\n", "the column x appears more than once"),
        ("x,y,x,y\n1,2,3,4\n", "the columns x, y appear more than once"),
        ("", "No columns to parse"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused_with_a_way_out(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(UnusableTable) as raised:
        read_file(written(tmp_path, content))
    assert str(raised.value).startswith(f"{tmp_path}/flats.csv cannot be read as a table: ")
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("x,x.1,y\n1,2,3\n", {"x": [1], "x.1": [2], "y": [3]}),
        ('"a;b",y\n1,2\n', {"a;b": [1], "y": [2]}),
        ("\ufeffx,y\n1,2\n", {"x": [1], "y": [2]}),
        ("\n\nx,y\n1,2\n", {"x": [1], "y": [2]}),
        ("x,y\n1,2,\n4,5,\n", {"x": [1, 4], "y": [2, 5]}),
        ('x,y\n"1,5",2\n', {"x": ["1,5"], "y": [2]}),
        (",x,\n1,2,3\n", {"Unnamed: 0": [1], "x": [2], "Unnamed: 2": [3]}),
    ],
)
def test_what_is_clear_is_read_as_it_stands(
    tmp_path: Path, content: str, columns: dict[str, list[object]]
) -> None:
    assert read_file(written(tmp_path, content)).to_dict("list") == columns


def test_names_of_parquet_columns_are_as_free(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1], "x.1": [2]})
    frame.to_parquet(tmp_path / "flats.parquet")
    assert list(read_file(tmp_path / "flats.parquet")) == ["x", "x.1"]


def test_numbers_that_pandas_declared_as_categories_are_categories_again(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"zone": pd.Categorical([3, 1, None]), "side": pd.Categorical(list("aba"))}
    )
    frame.assign(rooms=[1, 2, 3]).to_parquet(tmp_path / "flats.parquet")
    read = read_file(tmp_path / "flats.parquet")
    assert read.dtypes.map(str).tolist() == ["category", "category", "int64"]
    assert as_names(read["zone"].astype(object)).tolist() == ["3", "1", None]
