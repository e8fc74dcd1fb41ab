"""The tree is the architecture: import-linter holds the table of imports (pyproject.toml), these
tests hold what it cannot see, and how large a part may grow."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import STATUS
from cli.server import ROOT
from engine.domain.errors import ServiceError
from tests.faces import unused

LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
FOLDERS = {path.parent.name for path in ROOT.glob("*/*.py")}
ROOMS = {
    f"engine.{path.relative_to(ROOT / 'engine').with_suffix('').parts[0]}"
    for path in ROOT.glob("engine/**/*.py")
    if path != ROOT / "engine" / "__init__.py"
}
STORIES = sorted(ROOT.glob("*.py"))
NEVER_IN_STORIES = {"app", "benchmarks", "engine.serving", "tests"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 40


def sources(*folders: str) -> list[Path]:
    return sorted(path for name in folders for path in ROOT.glob(f"{name}/**/*.py"))


def module_of(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(name for name in names if name != "__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_has_one_row_in_the_table_of_imports() -> None:
    """Whoever makes a folder or a room says who may import it."""
    rows = Counter(
        part for contract in LINTER["contracts"] for part in contract.get("protected_modules", [])
    )
    parts = FOLDERS | ROOMS | {path.stem for path in STORIES}
    assert set(LINTER["root_packages"]) == FOLDERS
    assert rows == Counter(parts - {"engine.domain"})


def test_every_folder_is_a_package_for_else_the_linter_does_not_read_it() -> None:
    for path in sources(*FOLDERS):
        assert (path.parent / "__init__.py").exists(), path


@pytest.mark.parametrize("path", STORIES, ids=module_of)
def test_a_story_imports_nothing_of_the_server(path: Path) -> None:
    parts = {".".join(name.split(".")[:n]) for name in imports(path) for n in (1, 2)}
    assert not parts & NEVER_IN_STORIES


@pytest.mark.parametrize(
    "path", [*sources("app", "cli", "engine", "problems"), *STORIES], ids=module_of
)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


def test_every_error_of_the_domain_has_a_status() -> None:
    assert set(ServiceError.__subclasses__()) == set(STATUS)


def test_what_only_its_own_module_uses_begins_with_an_underscore() -> None:
    assert unused() == {}


DECLARATIONS = ROOT / "problems" / "gaps.py"
"""It declares columns in a line each, as the classes of columns do."""


@pytest.mark.parametrize("path", sources("app", "cli", "engine", "problems"), ids=str)
def test_more_than_three_arguments_are_named_where_they_are_given(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())) if path != DECLARATIONS else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            assert len([n for n in names if n not in {"self", "cls"}]) <= 3, node.name
