#!/usr/bin/env python3
"""The README's two commands, with nothing but Python and git on the machine.

python3 dev.py quick    environment, embedded model, `scsafety run --quick`, table and report
python3 dev.py test     environment with the test tools, then ruff, mypy and all tests
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
OLDEST = (3, 11)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("quick", "test"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="handed on to `scsafety run --quick` or pytest")
    given = parser.parse_args()
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"scsafety needs Python {OLDEST[0]}.{OLDEST[1]} or newer, this is {found}", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    return quick(given.rest) if given.task == "quick" else test(given.rest)


def quick(rest: list[str]) -> int:
    install(".")
    return run(BIN / "scsafety", "run", "--quick", *rest)


def test(rest: list[str]) -> int:
    install(".[dev]")
    ensure_chromium()
    # without the model the tests that need it skip and say so
    run(BIN / "scsafety", "models", "pull")
    for check in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
        if code := run(BIN / check[0], *check[1:]):
            return code
    pytest = (BIN / "python", "-m", "pytest")
    if rest:
        return run(*pytest, *rest)
    # two at a time, as most wait for a process, a browser or a port; then those whose model takes every core by itself
    side_by_side = run(*pytest, "-m", "not embedded", "--numprocesses", "2", "--dist", "worksteal")
    return run(*pytest, "-m", "embedded") or side_by_side


def install(what: str) -> None:
    """The package in an environment of the repository's own; quick when nothing has changed."""
    if not (BIN / "python").exists() and not (BIN / "python.exe").exists():
        print(f"making {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    pip = [BIN / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--editable", what]
    if run(*pip):
        raise SystemExit("the packages could not be installed: see pip's message above")


def ensure_chromium() -> None:
    """The report is tested in a real browser: take the system's, or install Debian's where that needs no question."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if os.environ.get("SCSAFETY_CHROMIUM") or any(map(shutil.which, names)):
        return
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (root and shutil.which("apt-get")):
        print("no Chromium here: the browser tests will skip (Debian: apt-get install chromium)", flush=True)
        return
    print("installing Debian's chromium for the browser tests", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"],
    ):
        if subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False).returncode:
            print("that did not work: the browser tests will skip", flush=True)
            return


def run(*command: object) -> int:
    return subprocess.run([str(part) for part in command], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
