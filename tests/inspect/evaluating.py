"""`inspect eval` as another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.program import environment

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

ROOT = Path(__file__).parents[2]
# the program's own warnings are errors in our tests; those of Inspect and its packages are not ours to mend
WITH_ITS_WARNINGS = {"PYTHONWARNINGS": "default"}


def registered(folder: Path) -> Path:
    """A folder for the path of a child: what `pyproject.toml` registers, whatever is installed, and the scripted model."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = project["entry-points"]["inspect_ai"]["scsafety"]
    for name, module in (("scsafety", ours), ("scripted", "tests.inspect.scripted_model")):
        about = folder / f"{name}-{project['version']}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
        (about / "entry_points.txt").write_text(f"[inspect_ai]\n{name} = {module}\n")
        (about / "direct_url.json").write_text(json.dumps({"url": ROOT.as_uri(), "dir_info": {"editable": True}}))
    return folder


def evaluate(task: str, *arguments: str, cwd: Path, model: str = "scripted/target") -> EvalLog:
    """The log of one evaluation."""
    from inspect_ai.log import read_eval_log

    path = os.pathsep.join(map(str, (registered(cwd / "path"), ROOT / "src", ROOT)))
    command = [
        "-m",
        "inspect_ai",
        "eval",
        task,
        "--model",
        model,
        "--display",
        "plain",
        "--log-dir",
        "logs",
        *arguments,
    ]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**environment(**WITH_ITS_WARNINGS), "PYTHONPATH": path, "HOME": str(cwd)},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    (log,) = (cwd / "logs").glob("*.eval") or [None]
    assert log is not None, done.stdout[-2_000:] + done.stderr[-2_000:]
    return read_eval_log(log)
