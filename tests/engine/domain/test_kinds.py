"""Each kind of target and type of column has its entry in every table; nobody compares them."""

import ast
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from cli.server import ROOT
from engine.domain.columns import ByColumnType, ColumnType
from engine.domain.kinds import BINARY, POSITIVE, REAL, ByKind, TargetKind

OURS = sorted(
    path
    for folder in ("app", "cli", "engine", "problems")
    for path in (ROOT / folder).rglob("*.py")
)

COLUMNS = {"Number", "Category"}


def test_a_table_has_one_entry_for_each_kind_of_target() -> None:
    assert [field.name for field in fields(ByKind)] == [kind.value for kind in TargetKind]


def test_a_table_has_one_entry_for_each_type_of_column() -> None:
    assert [field.name for field in fields(ByColumnType)] == [kind.value for kind in ColumnType]


def test_an_entry_is_found_by_its_kind() -> None:
    table = ByKind(positive=1, real=2, binary=3)
    assert [table[kind] for kind in (POSITIVE, REAL, BINARY)] == [1, 2, 3]


def test_a_measure_says_what_may_come_true() -> None:
    values = np.array([0.0, 1.0, 2.0, -1.0, np.nan])
    found = {kind: kind.measure.is_outcome(values).tolist() for kind in TargetKind}
    assert found == {
        POSITIVE: [False, True, True, False, False],
        REAL: [True, True, True, True, False],
        BINARY: [True, True, False, False, False],
    }


def named(node: ast.AST) -> str:
    """`kind` of `target.kind`, and `BINARY` of itself."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_compares_kinds_or_asks_for_the_class_of_a_column(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            sides = {named(side) for side in (node.left, *node.comparators)}
            assert not sides & {kind.name for kind in TargetKind}, f"line {node.lineno}"
        if isinstance(node, ast.Call) and named(node.func) == "isinstance":
            assert not {named(one) for one in ast.walk(node.args[1])} & COLUMNS, node.lineno
