"""A row means to the service what it meant to the model that learned from it."""

import csv
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cli.server import ROOT
from engine.domain import cells
from engine.domain.columns import LARGEST, Category
from engine.domain.problem import Problem
from engine.domain.schema import Matrix
from engine.tables.files import read_file
from engine.tables.infer import infer
from engine.tables.table import check
from problems import declared

ROWS = 240
TABLES = ROOT.parent / "shared" / "data" / "tables"
Rng = np.random.Generator
Cells = Callable[[Rng], Iterable[object]]

COLUMNS: dict[str, Cells] = {
    "floats": lambda rng: rng.normal(0, 1e3, ROWS).round(6),
    "tiny": lambda rng: (rng.random(ROWS) / 1e3).round(10),
    "counts": lambda rng: rng.integers(0, 500, ROWS),
    "counts with gaps": lambda rng: with_gaps(rng, rng.integers(-9, 9, ROWS)),
    "numbers as text": lambda rng: quoted(rng, ["29.85", "1e3", " 7 ", "-0.5", "+4"]),
    "numbers and a few words": lambda rng: ["?"] * 5 + [*rng.integers(0, 99, ROWS - 5)],
    "flags": lambda rng: rng.random(ROWS) < 0.4,
    "flags with gaps": lambda rng: with_gaps(rng, rng.random(ROWS) < 0.4),
    "flags of R": lambda rng: quoted(rng, ["TRUE", "FALSE", "NA"]),
    "flags and a word": lambda rng: quoted(rng, ["true", "false", "unsure"]),
    "0 or 1": lambda rng: rng.integers(0, 2, ROWS),
    " blanks around ": lambda rng: quoted(rng, [" Private", "Private ", " State-gov", "?", "  "]),
    "words for nothing": lambda rng: quoted(rng, ["a", "b", "NA", "null", "None", " n/a ", ""]),
    "codes": lambda rng: quoted(rng, ["1", "x1", "x2", "z z"]),
    "big": lambda rng: rng.integers(2**53, 2**62, ROWS),
}


def with_gaps(rng: Rng, values: Any) -> list[object]:
    return ["" if rng.random() < 0.2 else value for value in values]


def quoted(rng: Rng, texts: list[str]) -> list[object]:
    return list(rng.choice(np.array(texts, object), ROWS))


def problem_of(path: Path, target: str, drop: tuple[str, ...] = ()) -> tuple[Problem, Matrix, Any]:
    """What a table declares, what training sees of it, and which rows those are."""
    frame = read_file(path)
    found = infer(frame, target, source=path.name, drop=drop)
    problem = declared.problem(
        "flats",
        declared.Declaration("t", found.schema.columns, found.target, found.slices, found.ignored),
    )
    table, rejected = check(problem, frame, path.name)
    bad = set(rejected.report["row"])
    return problem, table.rows, [row for row in range(len(frame)) if row + 1 not in bad]


def asked(problem: Problem, rows: list[dict[str, Any]]) -> Matrix:
    """What the service makes of these rows, from the bytes of a body on."""
    many = problem.contracts[1]
    body = json.dumps({"rows": rows}, allow_nan=False)
    validated = TypeAdapter(many.request(len(rows))).validate_json(body)
    return problem.schema.encode([row or {} for row in many.entities(validated).rows])


def ways_to_send(path: Path, digits: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of a file as people send them; pandas writes 15 decimals at most, so what has more
    is put back."""
    frame = pd.read_csv(path)
    records = json.loads(frame.to_json(orient="records", double_precision=digits))
    for name, values in frame.select_dtypes("float").items():
        for row, value in zip(records, values, strict=True):
            row[name] = value if isinstance(row[name], float) else row[name]
    with path.open(newline="", encoding="utf-8-sig") as file:
        texts = list(csv.DictReader(file))
    absent = [{k: v for k, v in row.items() if v is not None} for row in records]
    return {"to_json": records, "texts": texts, "absent where missing": absent}


def assert_same(seen: Matrix, problem: Problem, rows: list[dict[str, Any]], way: str) -> None:
    found = asked(problem, rows)
    differs = ~((seen == found) | (np.isnan(seen) & np.isnan(found)))
    where = [(int(r), problem.schema.names[c]) for r, c in np.argwhere(differs)[:5]]
    assert not where, f"{way}: {where}, {[rows[r][name] for r, name in where if name in rows[r]]}"


@settings(max_examples=25, deadline=None, phases=(Phase.generate,))
@given(
    names=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True),
    seed=st.integers(0, 99),
)
def test_every_row_that_was_learned_from_is_the_same_row_to_the_service(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    columns = {name: pd.Series([*COLUMNS[name](rng)], dtype=object) for name in names}
    target = pd.Series(rng.lognormal(3, 1, ROWS).round(2))
    pd.DataFrame({**columns, "price": target}).to_csv(path, index=bool(seed % 2))
    problem, seen, good = problem_of(path, "price")
    for way, rows in ways_to_send(path, digits=10).items():
        assert_same(seen, problem, [rows[row] for row in good], way)


PUBLIC = {
    "titanic.csv": ("survived", ("alive",)),
    "credit_german.csv": ("amount", ()),
    "hr_attrition.csv": ("Attrition", ("EmployeeCount", "Over18", "StandardHours")),
    "diamonds.csv": ("price", ()),
    "water_potability.csv": ("Potability", ()),
    "life_expectancy.csv": ("Life expectancy ", ("Country",)),
    "kaggle_bike_train.csv": ("count", ("datetime", "casual", "registered")),
}


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.skipif(not TABLES.exists(), reason="the public tables are not beside this checkout")
def test_every_row_of_a_public_table_is_the_same_row_to_the_service(name: str) -> None:
    target, drop = PUBLIC[name]
    problem, seen, good = problem_of(TABLES / name, target, drop)
    some = slice(None, None, 1 + len(good) // 2_000)
    for way, rows in ways_to_send(TABLES / name, digits=15).items():
        assert_same(seen[some], problem, [rows[row] for row in good[some]], way)


@pytest.mark.parametrize("cell", [None, float("nan"), "", "  ", "NA", " null ", pd.NA, pd.NaT])
def test_nothing_is_nothing_however_it_is_written(cell: Any) -> None:
    shown = cell if not isinstance(cell, type(pd.NA)) else None
    assert cells.is_missing(shown)
    assert cells.number(shown) is None
    assert cells.name(shown) is None


@pytest.mark.parametrize("cell", ["five", "1_000", "inf", float("inf"), "0x10", 10**400, [1], {}])
def test_what_is_no_number_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        cells.number(cell)


@pytest.mark.parametrize(
    ("categories", "cell", "found"),
    [
        (("True", "False"), True, "True"),
        (("True", "False"), 0, "False"),
        (("True", "False"), "TRUE", "True"),
        (("TRUE", "FALSE"), True, "TRUE"),
        (("true", "false", "unsure"), False, "false"),
        (("true", "false", "unsure"), 1, "1"),
        (("1", "0"), True, "True"),
        (("1", "2"), 1.0, "1"),
        (("a", "b"), " a", "a"),
        (("None", "b"), "None", None),
    ],
)
def test_a_category_goes_by_every_name_it_has(
    categories: tuple[str, ...], cell: Any, found: str | None
) -> None:
    assert Category("x", "d", categories, categories[0]).read(cell) == found


@given(text=st.from_regex(re.compile(cells.NUMBER_AS_TEXT, re.ASCII), fullmatch=True))
def test_a_text_that_the_document_calls_a_number_is_one(text: str) -> None:
    value = cells.number(text)
    assert value is None or abs(value) < LARGEST


@pytest.mark.parametrize("text", ["9" * 31, "1e40", "1_000", "inf", "five", "1,5"])
def test_a_text_that_no_column_of_numbers_takes_is_not_in_the_document(text: str) -> None:
    assert not re.search(cells.NUMBER_AS_TEXT, text)
    with pytest.raises((ValueError, AssertionError)):
        assert abs(cells.number(text) or 0) < LARGEST
