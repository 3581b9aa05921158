"""Writes the reference of the command line from the program itself: `python scripts/cli_reference.py`.

What the program says of itself is English on both pages; the words around it are of the page's language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scsafety.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class Page:
    name: str
    head: str
    columns: str  # behind the option's own
    required: str
    example: str
    exit_codes: str


ENGLISH = Page(
    name="cli.md",
    head="""\
# Command line

English | [中文](cli.zh-CN.md)

Made from the program by `python scripts/cli_reference.py`; a test holds the two together. `scsafety COMMAND --help` says the same
in the terminal. What each option is for is told by the pages of its subject: [endpoints](endpoints.md), [judges](judges.md),
[strategies](strategies.md), [suites](suites.md), [a gate in CI](ci.md), [the site of reports](site.md).
""",
    columns="meaning | default",
    required="required",
    example="Example: ",
    exit_codes="""
## Exit codes

| code | meaning |
|---|---|
| 0 | every turn is answered and judged, or the command did what it was told |
| 1 | some turns are unanswered or unjudged; `scsafety resume` goes on |
| 2 | usage or configuration |
| 3 | a check or gate failed |
| 4 | environment or store |
| 130, 143 | interrupted, terminated |
""",
)
CHINESE = Page(
    name="cli.zh-CN.md",
    head="""\
# 命令行

[English](cli.md) | 中文

本页由 `python scripts/cli_reference.py` 从程序生成，有测试保证两者一致；命令和选项的说明是程序自己的话，
为英文，终端里用 `scsafety COMMAND --help` 也能看到。
各选项的用法见相应的页：[接口](endpoints.zh-CN.md)、[裁判](judges.zh-CN.md)、[策略](strategies.zh-CN.md)、[套件](suites.zh-CN.md)、
[CI 关卡](ci.zh-CN.md)、[报告站点](site.zh-CN.md)。
""",
    columns="含义 | 默认值",
    required="必填",
    example="例：",
    exit_codes="""
## 退出码

| 退出码 | 含义 |
|---|---|
| 0 | 每一轮都已答、已评，或命令完成了要做的事 |
| 1 | 有未答或未评的；用 `scsafety resume` 继续 |
| 2 | 用法或配置 |
| 3 | 检查或关卡未通过 |
| 4 | 环境或存储 |
| 130、143 | 中断、终止 |
""",
)
PAGES = (ENGLISH, CHINESE)
STATED = re.compile(r"\s*\[default: (.+)\]$")
VALUES = {"int": "N", "integer": "N", "integer range": "N", "float": "X", "path": "PATH", "str": "TEXT", "text": "TEXT"}


def reference(page: Page) -> str:
    """The whole page."""
    return page.head + "".join(_of_command(page, "scsafety", typer.main.get_command(app))) + page.exit_codes


def _of_command(page: Page, name: str, command: Any) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if name != "scsafety":
        yield f"\n## {name}\n\n"
        yield "\n\n".join(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n")) + "\n"
    if not below:
        yield from _of_parameters(page, name, [one for one in command.params if not getattr(one, "hidden", False)])
        yield f"\n{page.example}`{command.epilog.removeprefix('Example: ')}`\n"
    for one in below:
        yield from _of_command(page, f"{name} {one}", below[one])


def _of_parameters(page: Page, name: str, params: list[Any]) -> Iterator[str]:
    arguments = [one for one in params if one.param_type_name == "argument"]
    options = [one for one in params if one.param_type_name == "option"]
    usage = [name, *(_shape(one) for one in arguments), *(["[OPTIONS]"] if options else [])]
    yield f"\n```text\n{' '.join(usage)}\n```\n"
    if params:
        yield f"\n| | {page.columns} |\n|---|---|---|\n"
    for one in (*arguments, *options):
        meaning, in_words = _parted(one.help or "")
        yield f"| `{_as_written(one)}` | {_cell(meaning)} | {in_words or _default(page, one)} |\n"


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


def _default(page: Page, one: Any) -> str:
    if one.required:
        return page.required
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
    for page in PAGES:
        (DOCS / page.name).write_text(reference(page), encoding="utf-8")
