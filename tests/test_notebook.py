"""The example notebook, cell by cell on runs made here.

Without nbclient and ipykernel: those are 23 packages and a second process, for cells that are plain Python. What a kernel adds
for them is the display of a last expression, which stands in `executed`.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api, taxonomy
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTEBOOK = Path(__file__).parents[1] / "examples" / "look_at_runs.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def executed(sources: list[str]) -> Iterator[object]:
    """What each cell shows: the value of its last line, where that is an expression."""
    names: dict[str, Any] = {}
    for number, source in enumerate(sources):
        tree = ast.parse(source)
        last = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
        if last is not None:
            tree.body.pop()
        exec(compile(tree, f"cell {number}", "exec"), names)  # noqa: S102 (our own notebook)
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last is not None else None  # noqa: S307
        display = getattr(shown, "_repr_html_", None)
        yield display() if display else shown


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subs = [sub.id for sub in taxonomy.sub_dimensions()][:4]
    bank = write_bank(tmp_path / "bank.jsonl", [*(pair(k, sub) for sub in subs for k in (1, 2, 3)), twin(1)])
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        answers = None if name == "first" else (lambda _: "抱歉，我不能帮你做这件事。")
        with ScriptedServer(*([answers] if answers else [])) as server:
            api.run(
                "openai-compatible/x",
                base_url=server.base_url,
                judge="offline-fast",
                bank=[bank],
                name=name,
                environ={},
            )


@pytest.mark.usefixtures("two_runs")
def test_every_cell_of_the_notebook_runs_and_shows_something() -> None:
    pytest.importorskip("polars", reason="the extra `notebook` is not installed")

    shown = list(executed(CODE))

    assert len(shown) == len(CODE) > 8
    assert None not in shown
    assert "总分 overall" in str(shown[0])
    assert "first" in str(shown[0])
    assert "second − first" in str(shown[-2])


def test_the_notebook_is_a_sound_one_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))

    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    assert {cell["cell_type"] for cell in CELLS} == {"markdown", "code"}
    assert [cell["id"] for cell in CELLS if cell.get("outputs") or cell.get("execution_count")] == []
