"""Data flows one way: who may import whom, read from the source of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

import scsafety

SOURCE = Path(scsafety.__file__).parent
# A module may import its own part, parts of a lower number, and `metrics`.
LAYERS = {
    "records": 0,
    "errors": 0,
    "files": 0,
    "modeltext": 0,
    "plugins": 0,
    "taxonomy": 0,
    "bank": 1,
    "targets": 2,
    "dialogue": 3,
    "judge": 4,
    "suites": 5,
    "contract": 6,
    "store": 6,
    "engine": 7,
    "cluster": 8,
    "report": 9,
    "api": 10,
    "web": 11,
    "inspect": 11,
    "cli": 12,
    "__main__": 13,
}
BASE = {"records", "errors", "files", "modeltext", "plugins", "taxonomy"}
EDGE = {"cli", "__main__"}
HEAVY = ("aiohttp", "numpy", "xllamacpp", "jinja2", "rich", "inspect_ai", "ray")

Kind = Literal["module", "function", "typing"]  # where the import stands; the first two happen at run time


class Import(NamedTuple):
    target: str  # dotted, a module of ours
    kind: Kind
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def part_of(module: str) -> str:
    """`bank` for `scsafety.bank.load`; empty for the package's own `__init__`."""
    return module.removeprefix("scsafety").lstrip(".").partition(".")[0]


def imports_of(module: str) -> list[Import]:
    """Every import of one of our modules that stands in the source of `module`."""
    found: list[Import] = []
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    _collect(tree, "module", module, found)
    return found


def _collect(node: ast.AST, kind: Kind, module: str, found: list[Import]) -> None:
    if isinstance(node, ast.Import):
        found += [Import(a.name, kind, node.lineno) for a in node.names if a.name.partition(".")[0] == "scsafety"]
    elif isinstance(node, ast.ImportFrom):
        found += [Import(target, kind, node.lineno) for target in _from(node, module)]
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for guarded in node.body:
            _collect(guarded, "typing", module, found)
        for other in node.orelse:
            _collect(other, kind, module, found)
        return
    inner: Kind = "function" if kind == "module" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else kind
    for child in ast.iter_child_nodes(node):
        _collect(child, inner, module, found)


def _from(node: ast.ImportFrom, module: str) -> set[str]:
    """The modules that a `from` import names: `from scsafety import taxonomy` is an import of a module."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
        base = ".".join([*above, *([base] if base else [])])
    if base.partition(".")[0] != "scsafety":
        return set()
    named = (f"{base}.{alias.name}" for alias in node.names)
    return {name if name in MODULES else base for name in named}


def faults(module: str) -> list[str]:
    """The imports of `module` that the picture of the layers does not allow."""
    mine, found = part_of(module), []
    for target, kind, line in imports_of(module):
        theirs = part_of(target)
        if theirs == mine or theirs in BASE:
            continue
        if mine == "metrics":
            allowed = False
        elif theirs == "metrics":
            allowed = mine not in BASE
        elif theirs in EDGE or not theirs:
            allowed = mine == "__main__"
        else:
            allowed = LAYERS.get(theirs, len(LAYERS)) < LAYERS[mine]
        if mine in ("store", "report") and theirs in ("targets", "dialogue"):
            allowed = False
        if mine == "report" and theirs == "engine":
            allowed = target == "scsafety.engine.settings"  # records: what a run is, which a summary states
        if not allowed:
            found.append(f"{MODULES[module].name}:{line} imports {target} ({kind})")
    return found


@pytest.mark.parametrize("module", [name for name in MODULES if name != "scsafety"])
def test_a_module_imports_only_from_its_left(module: str) -> None:
    assert part_of(module) in {*LAYERS, "metrics"}, "a new part: give it its place in LAYERS and in the architecture"

    assert faults(module) == []


def test_the_package_itself_imports_nothing_of_its_own_before_it_is_asked_for() -> None:
    assert [found for found in imports_of("scsafety") if found.kind == "module"] == []


def test_imports_at_run_time_form_no_cycle() -> None:
    follows = {
        module: {found.target for found in imports_of(module) if found.kind != "typing"} - {module}
        for module in MODULES
        if module != "scsafety"
    }

    left = dict(follows)
    while free := {module for module, targets in left.items() if not targets & left.keys()}:
        left = {module: targets for module, targets in left.items() if module not in free}

    assert sorted(left) == []


def test_the_reader_of_imports_sees_functions_typing_blocks_and_modules_named_in_a_from() -> None:
    kinds = {(found.target, found.kind) for found in imports_of("scsafety")}

    assert kinds == {
        ("scsafety.api", "typing"),
        ("scsafety.bank", "typing"),
        ("scsafety.api", "function"),
        ("scsafety.bank", "function"),
    }
    assert ("scsafety.taxonomy", "module") in {(found.target, found.kind) for found in imports_of("scsafety.bank.load")}


@pytest.mark.parametrize("module", ["scsafety", "scsafety.cli"])
def test_the_program_starts_without_the_heavy_packages(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == []
