"""What each module shows of itself, and who uses it: read off the source, nothing is imported."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.server import ROOT

CODE = ("app", "cli", "engine", "problems")
OTHERS = ("tests", "benchmarks")
SCRIPTS = ("retrain.py", "train_model.py")
LONGEST_REFERENCE = 100
ENTRY_POINTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "scripts"
]

Uses = Mapping[str, set[str]]
"""A name with its module, `engine.domain.cells.number`, to the modules that use it."""


def modules(*folders: str) -> dict[str, Path]:
    """Name to file; a package is its `__init__`."""
    files = [*(ROOT / name for name in SCRIPTS)]
    files += [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def public_names(tree: ast.Module) -> Iterator[str]:
    """What a module defines at its top level without a leading underscore. Left out is what a
    decorator hands over to a library, and what the documents call a schema by."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found = [] if handed_over(node) else [node.name]
            case ast.ClassDef(bases=bases):
                found = [] if {name_of(base) for base in bases} & SCHEMAS else [node.name]
            case ast.Assign(targets=targets):
                found = [n.id for one in targets for n in ast.walk(one) if isinstance(n, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case _:
                found = []
        yield from (name for name in found if not name.startswith("_"))


SCHEMAS = {"TypedDict", "BaseModel", "Told"}
KEPT_HERE = {"contextmanager", "asynccontextmanager", "lru_cache", "one_thread", "cache"}
"""Decorators that hand nothing over."""


def handed_over(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(name_of(one) not in KEPT_HERE for one in node.decorator_list)


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name, of a call too."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def uses(code: Mapping[str, ast.Module]) -> Uses:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for entry in ENTRY_POINTS.values():
        found[entry.replace(":", ".")].add("pyproject.toml")
    for module, tree in code.items():
        for name in references(tree, set(code)):
            found[name].add(module)
    return found


def references(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """`from a.b import c`, `b.c` where b is a module, and the text "a.b.c" or "a.b:c"."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known:
                    aliases[alias.asname or alias.name] = whole
                yield whole
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in aliases:
                yield f"{aliases[name]}.{attribute}"
            case ast.Constant(value=str() as text) if len(text) < LONGEST_REFERENCE:
                yield text.replace(":", ".")


def unused(folders: tuple[str, ...] = CODE) -> dict[str, list[str]]:
    """Public names that nobody else uses, by module."""
    files = modules(*folders, *OTHERS)
    code = {name: ast.parse(path.read_text()) for name, path in files.items()}
    used = uses(code)
    found = {}
    for module, tree in code.items():
        if module.split(".")[0] in OTHERS:
            continue
        face = module.removesuffix(".__init__")
        alone = [n for n in public_names(tree) if not used[f"{face}.{n}"] - {module}]
        if alone:
            found[module] = sorted(set(alone))
    return found
