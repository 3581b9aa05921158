"""A package of `examples/`, or a small one of a test's own, installed into a folder by pip."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING
from zipfile import ZipFile

from tests.program import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def install(example: Path, target: Path) -> Path:
    """`target`, with the package in it as `pip install --target` leaves it."""
    table = tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))
    modules = {
        f"{name}.py": (example / f"{name}.py").read_bytes() for name in table["tool"]["setuptools"]["py-modules"]
    }
    project = table["project"]
    return install_modules(project["name"], project["version"], modules, project["entry-points"], target)


def install_modules(
    name: str, version: str, modules: Mapping[str, bytes], points: Mapping[str, Mapping[str, str]], target: Path
) -> Path:
    """By a wheel that is written here: building one needs a network, or a backend that not every machine has."""
    stem = f"{name.replace('-', '_')}-{version}"
    groups = [
        line
        for group, names in points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in names.items()))
    ]
    files = {
        **modules,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": "\n".join([*groups, ""]).encode(),
    }
    record = f"{stem}.dist-info/RECORD"
    with ZipFile(wheel := target.parent / f"{stem}-py3-none-any.whl", "w") as held:
        for path, content in {**files, record: "".join(f"{path},,\n" for path in (*files, record)).encode()}.items():
            held.writestr(path, content)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--target"]
    done = subprocess.run(
        [*command, str(target), str(wheel)], env=environment(PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONWARNINGS=""),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target
