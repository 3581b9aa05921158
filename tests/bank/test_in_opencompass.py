"""Dialogues of the bank in OpenCompass: the real package, by the command of docs/data.md, in processes of its own."""

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

import msgspec
import pytest

from scsafety.bank import load_bank
from scsafety.bank.export import export_bank
from scsafety.records import Pair
from tests.loopback_only import GUARD
from tests.program import environment
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scsafety.bank.load import Bank
    from scsafety.records import BankItem

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("opencompass") is None, reason="the package `opencompass` is not installed"
    ),
    pytest.mark.timeout(1200),  # it imports torch and transformers, in a process for each task
]
MAIN = "from opencompass.cli.main import main; main()"
PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("data.md", "data.zh-CN.md")]
KEY = "sk-of-no-worth"


def shown(page: Path) -> tuple[list[str], list[str]]:
    """The page's `opencompass` command: what it wants in the environment, as NAME=VALUE, and its arguments."""
    (command,) = re.findall(r"^(\w+=.+ opencompass .+)$", page.read_text("utf-8"), re.MULTILINE)
    words = shlex.split(command)
    at = words.index("opencompass")
    return words[:at], words[at + 1 :]


def answer(messages: list[dict[str, str]]) -> str:
    return f"收到：{messages[-1]['content'][:20]}"


class Evaluated:
    def __init__(self, folder: Path) -> None:
        guard, called = folder / "guard", folder / "called.txt"
        guard.mkdir()  # it starts a process for each task: all of them pass here
        (guard / "sitecustomize.py").write_text(f"import sys\nsys.argv.insert(1, {str(called)!r})\n{GUARD}", "utf-8")
        wanted, arguments = shown(PAGES[0])
        with ScriptedServer(answer) as server:
            given = {"URL": server.base_url, "KEY": KEY, "NAME": "scripted-1"}
            env = {name: given[value] for name, value in (pair.split("=") for pair in wanted)}
            self.done = subprocess.run(
                [sys.executable, "-c", MAIN, *arguments],
                cwd=folder, env=environment(HOME=str(folder), PYTHONPATH=str(guard), PYTHONWARNINGS="", **env),
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        assert self.done.returncode == 0, self.done.stderr[-2000:]
        self.bodies = server.bodies
        self.called = called.read_text()
        (self.out,) = (folder / "outputs" / "default").iterdir()

    def predictions(self, name: str) -> list[dict[str, Any]]:
        path = self.out / "predictions" / "scripted-1" / f"scsafety_{name}.json"
        rows: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
        assert list(rows) == [str(place) for place in range(len(rows))]
        return list(rows.values())


@pytest.fixture(scope="module")
def few() -> Bank:
    """A pair of each sub-dimension, with a system prompt where there is one, and a harmless twin of each."""
    bank = load_bank()
    by_system = sorted(bank.pairs, key=lambda pair: pair.system is None)
    return msgspec.structs.replace(bank, items=(*first_of_each(by_system), *first_of_each(bank.twins)))


def first_of_each(items: Iterable[BankItem]) -> list[BankItem]:
    firsts: dict[str, BankItem] = {}
    for item in items:
        firsts.setdefault(item.sub_dimension, item)
    return list(firsts.values())


@pytest.fixture(scope="module")
def evaluated(few: Bank, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("opencompass")
    export_bank(few, folder / "opencompass-bank", "opencompass")
    return Evaluated(folder)


def requests(item: BankItem) -> list[tuple[tuple[str, str], ...]]:
    """What is to be asked of an item: round 1, and of a pair round 2, with the answer to round 1 in view."""
    system = (("system", item.system),) if isinstance(item, Pair) and item.system else ()
    first = (*system, ("user", item.question))
    if not isinstance(item, Pair):
        return [first]
    return [first, (*first, ("assistant", answer([{"content": item.question}])), ("user", item.follow_up))]


def test_it_asks_every_round_once_with_the_answer_before_it_in_view(few: Bank, evaluated: Evaluated) -> None:
    asked = Counter(tuple((one["role"], one["content"]) for one in body["messages"]) for body in evaluated.bodies)

    assert any(pair.system for pair in few.pairs)
    assert asked == Counter(request for item in few.items for request in requests(item))


def test_it_calls_the_endpoint_and_nobody_else(evaluated: Evaluated) -> None:
    assert evaluated.called == ""


def test_its_predictions_hold_every_answer_in_the_banks_order(few: Bank, evaluated: Evaluated) -> None:
    assert [row["prediction"] for row in evaluated.predictions("pairs")] == [
        [answer([{"content": question}]) for question in (pair.question, pair.follow_up)] for pair in few.pairs
    ]
    assert [row["prediction"] for row in evaluated.predictions("benign")] == [
        [answer([{"content": twin.question}])] for twin in few.twins
    ]


def test_it_writes_the_key_nowhere(evaluated: Evaluated) -> None:
    written = [path for path in evaluated.out.parents[1].rglob("*") if path.is_file()]

    assert any(path.suffix == ".py" for path in written)  # its copies of the config
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_both_pages_give_the_same_command() -> None:
    assert shown(PAGES[0]) == shown(PAGES[1])
