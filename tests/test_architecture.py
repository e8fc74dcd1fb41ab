"""The tree is the architecture: who may import whom, and how large a part may grow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import STATUS
from cli.server import ROOT
from engine.domain.errors import ServiceError

DOMAIN = {"engine.domain"}
MODEL = DOMAIN | {"engine.model"}
EVERYTHING_OFFLINE = MODEL | {
    "cli",
    "engine",
    "engine.assemble",
    "engine.judging",
    "engine.learning",
    "engine.reports",
    "engine.scoring",
    "engine.settings",
    "engine.stores",
    "engine.tables",
    "engine.watching",
    "problems",
    "retrain",
    "train_model",
}
MAY_IMPORT = {
    "engine.domain": set(),
    "engine.model": DOMAIN,
    "engine.tables": DOMAIN,
    "engine.watching": DOMAIN,
    "engine.stores": DOMAIN,
    "problems": DOMAIN,
    "engine.judging": MODEL,
    "engine.learning": MODEL | {"engine.tables", "engine.judging"},
    "engine.serving": MODEL,
    "engine.scoring": MODEL | {"engine.tables"},
    "engine.reports": MODEL
    | {"engine.tables", "engine.judging", "engine.learning", "engine.watching"},
    "engine.settings": DOMAIN,
    "engine.assemble": DOMAIN | {"engine.stores", "engine.settings"},
    "app": MODEL
    | {"engine.serving", "engine.watching", "engine.assemble", "engine.settings", "problems"}
    | {"engine"},
    "cli": EVERYTHING_OFFLINE,
    "retrain": EVERYTHING_OFFLINE,
    "train_model": EVERYTHING_OFFLINE,
}
OURS = {"app", "cli", "engine", "problems", "retrain", "train_model"}
HEAVY = {"matplotlib", "onnx", "pandas", "pyarrow", "rich", "scipy", "sklearn"}
SERVED = {
    "app",
    "engine.assemble",
    "engine.domain",
    "engine.model",
    "engine.serving",
    "engine.settings",
    "engine.stores",
    "engine.watching",
    "problems",
}
"""What the server's image holds: it has none of the heavy libraries."""
LONGEST_FILE, LONGEST_FUNCTION = 320, 40


def sources() -> list[Path]:
    """Every Python file of ours but tests and benchmarks."""
    folders = [
        path
        for name in ("app", "cli", "engine", "problems")
        for path in ROOT.glob(f"{name}/**/*.py")
    ]
    return sorted([*folders, *ROOT.glob("*.py")])


def part_of(module: str) -> str:
    """`engine.domain.schema` belongs to `engine.domain`, `engine.serving.live` to `app`."""
    names = module.removesuffix(".__version__").split(".")
    return ".".join(names[:2]) if names[0] == "engine" else names[0]


def module_of(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(name for name in names if name != "__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the table"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    part = part_of(module_of(path))
    if part == "engine" or path.stat().st_size == 0:
        return
    assert part in MAY_IMPORT, f"{part} has no row in the table"
    ours = {part_of(name) for name in imports(path) if name.split(".")[0] in OURS}
    assert ours - {part} <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_what_the_server_runs_imports_no_training_library(path: Path) -> None:
    if part_of(module_of(path)) not in SERVED:
        return
    typing_only = {"pandas"} if path.name == "housing.py" else set()
    assert not {name.split(".")[0] for name in imports(path)} & HEAVY - typing_only


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


def test_every_error_of_the_domain_has_a_status() -> None:
    assert set(ServiceError.__subclasses__()) == set(STATUS)
