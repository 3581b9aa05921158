"""The converted bank in evalscope: the real package, by the command of docs/data.md, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scsafety.bank import load_bank
from scsafety.bank.export import export_bank
from scsafety.records import Pair
from tests.loopback_only import GUARD
from tests.program import environment
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from scsafety.records import BankItem

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("evalscope") is None, reason="the package `evalscope` is not installed"
    ),
    pytest.mark.timeout(1200),  # it takes the whole bank, and ROUGE of every answer, through one process
]
MAIN = "from evalscope.cli.cli import run_cmd; run_cmd()"
PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("data.md", "data.zh-CN.md")]


def shown(page: Path, **given: str) -> list[str]:
    """The arguments of the page's `evalscope` command, with what it leaves to the reader filled in."""
    (command,) = re.findall(r"^evalscope (.+?[^\\])$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [given.get(part, part) for part in shlex.split(command.replace("\\\n", " "))]


def answer(messages: list[dict[str, str]]) -> str:
    return f"收到：{messages[-1]['content'][:20]}"


class Evaluated:
    def __init__(self, folder: Path) -> None:
        with ScriptedServer(answer) as server:
            arguments = shown(PAGES[0], URL=server.base_url, KEY="sk-of-no-worth", NAME="scripted-1")
            self.done = subprocess.run(
                [sys.executable, "-c", GUARD + MAIN, str(folder / "called.txt"), *arguments],
                cwd=folder, env=environment(HOME=str(folder), PYTHONWARNINGS=""), capture_output=True, text=True, check=False,
            )  # fmt: skip
        assert self.done.returncode == 0, self.done.stderr[-2000:]
        self.bodies = server.bodies
        self.called = (folder / "called.txt").read_text()
        (self.out,) = (folder / "outputs").iterdir()

    def predictions(self, subset: str) -> list[dict[str, Any]]:
        (path,) = self.out.glob(f"predictions/*/general_qa_{subset}.jsonl")
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return sorted(rows, key=lambda row: int(row["index"]))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evalscope")
    export_bank(load_bank(), folder / "evalscope-bank", "evalscope")
    return Evaluated(folder)


def conversation(item: BankItem) -> tuple[tuple[str, str], ...]:
    system = [("system", item.system)] if isinstance(item, Pair) and item.system else []
    return (*system, ("user", item.question))


def test_it_asks_every_question_once_with_its_system_prompt_and_nothing_else(evaluated: Evaluated) -> None:
    asked = Counter(tuple((one["role"], one["content"]) for one in body["messages"]) for body in evaluated.bodies)

    assert asked == Counter(map(conversation, load_bank().items))


def test_it_calls_the_endpoint_and_nobody_else(evaluated: Evaluated) -> None:
    assert evaluated.called == ""


def test_its_predictions_hold_every_answer_in_the_banks_order(evaluated: Evaluated) -> None:
    bank = load_bank()
    for subset, items in (("pairs", bank.pairs), ("benign", bank.twins)):
        answers = [row["model_output"]["choices"][0]["message"]["content"] for row in evaluated.predictions(subset)]
        assert answers == [answer([{"content": item.question}]) for item in items]


def test_its_report_counts_every_item(evaluated: Evaluated) -> None:
    bank = load_bank()
    (path,) = evaluated.out.glob("reports/*/general_qa.json")
    metrics = json.loads(path.read_text("utf-8"))["metrics"]

    assert metrics
    for metric in metrics:
        (category,) = metric["categories"]
        assert {one["name"]: one["num"] for one in category["subsets"]} == {
            "pairs": len(bank.pairs),
            "benign": len(bank.twins),
        }


def test_both_pages_give_the_same_command() -> None:
    assert shown(PAGES[0]) == shown(PAGES[1])
