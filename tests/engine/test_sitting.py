"""A sitting of a run: who judges it, and where that judge is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety import api
from scsafety.engine.sitting import introduce, judge_of
from scsafety.records import JudgeCard
from scsafety.store import Store
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path


def test_a_later_judge_is_never_asked_with_its_key_at_the_first_judges_address(tmp_path: Path) -> None:
    settings = api.plan(
        "openai-compatible/x", base_url="http://127.0.0.1:1/v1", judge="openai-compatible/j", out=tmp_path,
        judge_base_url="http://127.0.0.1:2/v1", bank=[write_bank(tmp_path / "bank.jsonl", [pair(1)])],
    ).settings  # fmt: skip
    first, vendor, own = (
        JudgeCard(judge_id=name) for name in ("openai-compatible/j", "deepseek/deepseek-chat", "openai-compatible/k")
    )

    with Store.create(tmp_path / "run.db", {}, [pair(1)]) as store:
        begun = judge_of(store, settings, None)
        introduce(store, first, None, primary=True)
        introduce(store, vendor, None, primary=False)
        introduce(store, own, "http://127.0.0.1:3/v1", primary=False)
        asked = [judge_of(store, settings, card) for card in (first, vendor, own)]

    assert begun == ("openai-compatible/j", "http://127.0.0.1:2/v1")
    assert asked == [begun, ("deepseek/deepseek-chat", None), ("openai-compatible/k", "http://127.0.0.1:3/v1")]
