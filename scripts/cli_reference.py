"""Writes docs/cli.md, the reference of the command line, from the program itself: `python scripts/cli_reference.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scsafety.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """\
# Command line

Made from the program by `python scripts/cli_reference.py`; a test holds the two together. `scsafety COMMAND --help` says the same
in the terminal. What each option is for is told by the pages of its subject: [endpoints](endpoints.md), [judges](judges.md),
[strategies](strategies.md), [suites](suites.md), [a gate in CI](ci.md), [the site of reports](site.md).
"""
EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | every turn is answered and judged, or the command did what it was told |
| 1 | some turns are unanswered or unjudged; `scsafety resume` goes on |
| 2 | usage or configuration |
| 3 | a check or gate failed |
| 4 | environment or store |
| 130, 143 | interrupted, terminated |
"""
STATED = re.compile(r"\s*\[default: (.+)\]$")
VALUES = {"int": "N", "integer": "N", "integer range": "N", "float": "X", "path": "PATH", "str": "TEXT", "text": "TEXT"}


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_of_command("scsafety", typer.main.get_command(app))) + EXIT_CODES


def _of_command(name: str, command: Any) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if name != "scsafety":
        yield f"\n## {name}\n\n"
        yield "\n\n".join(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n")) + "\n"
    if not below:
        yield from _of_parameters(name, [one for one in command.params if not getattr(one, "hidden", False)])
        yield f"\nExample: `{command.epilog.removeprefix('Example: ')}`\n"
    for one in below:
        yield from _of_command(f"{name} {one}", below[one])


def _of_parameters(name: str, params: list[Any]) -> Iterator[str]:
    arguments = [one for one in params if one.param_type_name == "argument"]
    options = [one for one in params if one.param_type_name == "option"]
    usage = [name, *(_shape(one) for one in arguments), *(["[OPTIONS]"] if options else [])]
    yield f"\n```text\n{' '.join(usage)}\n```\n"
    if params:
        yield "\n| | meaning | default |\n|---|---|---|\n"
    for one in (*arguments, *options):
        meaning, in_words = _parted(one.help or "")
        yield f"| `{_as_written(one)}` | {_cell(meaning)} | {in_words or _default(one)} |\n"


def _shape(argument: Any) -> str:
    return str(argument.metavar) if argument.required else f"[{argument.metavar}]"


def _as_written(one: Any) -> str:
    """`--bank PATH`, `--benign / --no-benign`, `RUN`."""
    if one.param_type_name == "argument":
        return _cell(str(one.metavar))
    names = " / ".join((*one.opts, *one.secondary_opts))
    return _cell(names if one.is_flag else f"{names} {one.metavar or _value(one)}")


def _parted(text: str) -> tuple[str, str]:
    """What an option means, and its default where the help text says it itself."""
    found = STATED.search(text)
    return (text[: found.start()], found[1]) if found else (text, "")


def _value(one: Any) -> str:
    descriptor = getattr(one, "type_descriptor", None)  # typer's own since 0.2x; click's type before
    kind = descriptor.annotation.__name__ if descriptor is not None else one.type.name
    return VALUES[kind.lower()]


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if isinstance(one.show_default, str):  # in words
        return one.show_default
    if one.default is None or one.default is False or one.default in ((), [], ""):
        return ""
    value = " ".join(map(str, one.default)) if isinstance(one.default, (list, tuple)) else one.default
    return f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    """A bar would end the cell, and an angle bracket begin a tag where GitHub reads HTML."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
