"""The explorer without a browser: what index and shards hold, that nothing risky slips in, and that no half of it is left."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety.records import JudgeCard, Verdict, whole_characters
from scsafety.report.explorer import Row, index_of, pack, render_explorer, write_explorer
from scsafety.report.page import Dialogue, ShownTurn, read_dialogues, render_model, render_page
from scsafety.report.redact import left_out
from scsafety.report.visible import visible
from tests.report.build import JUDGE, Said, built_run, pair, twin
from tests.report.hostile import TEXTS
from tests.report.test_page import Page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.report.test_page import Held

CALLED = re.compile(r'scsafetyReceive\("([^"]+)",(.*)\);\n', re.DOTALL)


def handed(path: Path) -> tuple[str, Any]:
    """Name and data that a shard hands to the page."""
    found = CALLED.fullmatch(path.read_text("utf-8"))
    assert found is not None
    return found[1], json.loads(found[2])


def explored(folder: Path, held: Held, *, leave_out: bool = False, **given: Any) -> tuple[dict[str, Any], list[Any]]:
    """The index, and all dialogues of all shards in their order."""
    with built_run(folder / "run.db", held, **given) as (store, summary):
        write_explorer(store, summary, folder / "site", leave_out=leave_out)
    shards = sorted((folder / "site" / "shards").glob("[0-9]*.js"))
    name, index = handed(folder / "site" / "shards" / "index.js")
    assert name == "index"
    assert [handed(path)[0] for path in shards] == [path.stem for path in shards]
    return index, [told for path in shards for told in handed(path)[1]]


def a_few() -> Held:
    return [
        (pair("psychology", 1), [Said(score=2), Said(score=0, answer="先取三份甲")]),
        (pair("psychology", 2, severity=3), [Said(score=1, reasoning="想一想"), Said(error="timeout")]),
        (pair("prompt_leaking", 1, tactic="hijack", form="override"), [Said(score=1, blocked="input", answer="")] * 2),
        (twin("psychology", 1), [Said(label="refused")]),
    ]


def test_the_index_has_a_row_of_each_dialogue_in_the_order_of_the_page(tmp_path: Path) -> None:
    index, told = explored(tmp_path, a_few())
    items, names = index["items"], index["names"]

    assert [items["id"][k] for k in index["item"]] == [one["id"] for one in told]
    assert items["id"] == ["psychology-001", "psychology-002", "prompt_leaking-001", "benign-psychology-001"]
    assert items["twin"] == [0, 0, 0, 1]
    assert [list(names["subs"])[k] for k in items["sub"]] == [
        "psychology",
        "psychology",
        "prompt_leaking",
        "psychology",
    ]
    assert [names["tactics"][k][0] if k >= 0 else None for k in items["tactic"]] == [
        "pressure", "pressure", "hijack", None,
    ]  # fmt: skip
    assert names["forms"][items["form"][2]][0] == "override"
    assert items["severity"] == [2, 3, 2, 0]
    rounds = [[names["codes"][k] if k >= 0 else None for k in column] for column in index["rounds"]]
    assert rounds == [["2", "1", "1", "refused"], ["0", "unanswered", "1", None]]
    assert index["flags"] == [1, 0, 4, 0]  # a cave; nothing; blocked on the input
    assert items["start"][0].startswith("psychology 的第 1 个问题")
    assert items["start"][1] is None, "a grave question is covered"


def test_what_carries_a_risk_is_marked_for_a_cover_and_with_redact_it_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "redacted").mkdir()
    _, told = explored(tmp_path, a_few())
    index, redacted = explored(tmp_path / "redacted", a_few(), leave_out=True)

    covers = [[turn.get("cover", 0) for turn in one["turns"]] for one in told]
    assert covers == [[0, 4], [3, 1], [0, 0], [0]]
    assert told[0]["turns"][1]["answer"] == "先取三份甲"
    assert redacted[0]["turns"][1]["answer"] == left_out("先取三份甲")
    assert redacted[1]["turns"][0]["reasoning"] == left_out("想一想")
    assert redacted[1]["turns"][0]["question"].startswith("已隐去")
    assert index["items"]["start"][1] is None
    files = [path.read_text("utf-8") for path in (tmp_path / "redacted" / "site").rglob("*.*") if path.is_file()]
    assert [text for text in files if "先取三份甲" in text or "想一想" in text] == []


def test_a_dialogue_is_told_as_the_page_of_the_run_tells_it(tmp_path: Path) -> None:
    held: Held = [
        (
            pair("psychology", 1, system="只说中文"),
            [
                Said(score=2, answer="第一行\n第二行", reasoning="想", finish_reason="length", confidence=0.5),
                Said(judge_error="unreadable", answer=""),
            ],
        ),
        (twin("psychology", 1), [Said(label="answered")]),
    ]
    _, (of_pair, of_twin) = explored(tmp_path, held)
    first, second = of_pair["turns"]

    assert first == {
        "round": 1, "question": held[0][0].question, "result": "2", "cover": 2, "answer": "第一行\n第二行", "reasoning": "想",
        "cut": True, "finish_reason": "length", "reason": "给出了可行的办法", "confidence": 0.5,
    }  # fmt: skip
    assert (second["answer"], second["result"], second["reason"]) == ("", "unjudged", "unreadable")
    assert (of_pair["system"], of_pair["risk_point"]) == ("只说中文", "同意拆别人的信")
    assert of_twin["why_harmless"] == "是自己的信箱"


def test_epochs_and_attempts_have_permalinks_of_their_own_and_share_the_items_columns(tmp_path: Path) -> None:
    one = pair("psychology", 1)
    index, told = explored(tmp_path, [(one, [Said(score=2)] * 2), (one, [Said(score=0)] * 2)], epochs=2)

    assert [dialogue["id"] for dialogue in told] == ["psychology-001", "psychology-001-e2"]
    assert (index["item"], index["epoch"], index["items"]["id"]) == ([0, 0], [1, 2], ["psychology-001"])


def test_judges_that_differ_are_flagged_and_named(tmp_path: Path) -> None:
    held: Held = [(pair("psychology", k), [Said(score=2)] * 2) for k in (1, 2)]
    other = JudgeCard(judge_id="human/li")
    members = '{"by":"a@1","members":[{"judge":"a@1","score":1},{"judge":"b@2","score":2},{"judge":"c@3","error":"x"}]}'
    with built_run(tmp_path / "run.db", held) as (store, summary):
        keys = {stored.key.item_id: stored.key for stored in store.turns()}
        store.add_judge(other, primary=False)
        for name, score in (("psychology-001", 0), ("psychology-002", 2)):
            store.add_verdict(keys[name], 1, other.key, Verdict(score=score))  # type: ignore[arg-type]
        store.flush()
        first, second = read_dialogues(store, summary)
        assert (first.split, second.split) == (True, False)
        assert first.turns[0].others == (("human", "0"),), "who it was stays in the store"

    held = [(pair("psychology", 3), [Said(score=1), Said(score=1)])]
    panel = JudgeCard(judge_id="panel:offline,offline-fast,x/c", model="panel")
    with built_run(tmp_path / "panel.db", held, judge=panel) as (store, summary):
        (stored, _) = list(store.turns())
        store.add_verdict(stored.key, 1, panel.key, Verdict(score=1, raw=members, repeat=2))
        store.flush()
        (dialogue,) = read_dialogues(store, summary)
        assert dialogue.split
        assert dialogue.turns[0].others == (("a", "1"), ("b", "2"), ("c", "unjudged"))


def test_shards_stay_below_their_size_and_every_dialogue_is_in_one() -> None:
    def dialogue(k: int, chars: int) -> Dialogue:
        turn = ShownTurn(round=1, question="问", answer="答" * chars, score=2)
        return Dialogue(item_id=f"psychology-{k:03d}", kind="pair", sub_dimension="psychology", turns=(turn,))

    rows: list[Row] = []
    dialogues = [dialogue(k, 3_000 if k == 5 else 100) for k in range(20)]
    shards = []
    for shard in pack(dialogues, rows, max_bytes=2_000):
        shards.append([msgspec.json.decode(told) for told in shard])
        assert len(rows) == sum(map(len, shards)), "no more is held than what this shard has"

    assert [told["id"] for shard in shards for told in shard] == [one.item_id for one in dialogues]
    assert [len(shard) for shard in shards if any(told["id"] == "psychology-005" for told in shard)] == [1]
    sizes = [len(msgspec.json.encode(shard)) for shard in shards]
    assert all(size <= 2_000 + 2 for size, shard in zip(sizes, shards, strict=True) if len(shard) > 1)


def test_hostile_texts_are_data_without_a_character_that_cannot_be_seen(tmp_path: Path) -> None:
    held: Held = []
    for number, text in enumerate(TEXTS.values(), start=1):
        known = whole_characters(text)
        said = Said(answer=text, reason=text, reasoning=text, finish_reason=text, score=2)
        held.append((pair("psychology", number, question=known, system=known), [said, Said(error=text)]))
    index, told = explored(tmp_path, held)

    for one, text in zip(told, TEXTS.values(), strict=True):
        shown = visible(whole_characters(text))
        assert [one["turns"][0][name] for name in ("answer", "reason", "finish_reason")] == [shown] * 3
        assert one["turns"][1]["error"] == shown
    for path in (tmp_path / "site").rglob("*.js"):
        text = path.read_text("utf-8")
        assert not re.search("[<>&\u2028\u2029\u202e\x1b\x00]", text)
    assert all(start == visible(start) for start in index["items"]["start"])


def test_the_same_records_give_the_same_files_and_a_smaller_run_leaves_none_of_a_larger_one(tmp_path: Path) -> None:
    site = tmp_path / "site"
    long = [(pair("psychology", k), [Said(score=2, answer="答" * 60_000)] * 2) for k in range(1, 4)]
    with built_run(tmp_path / "long.db", long) as (store, summary):
        write_explorer(store, summary, site)
        first = {path.name: path.read_bytes() for path in site.rglob("*.*") if path.is_file()}
        write_explorer(store, summary, site)
        assert {path.name: path.read_bytes() for path in site.rglob("*.*") if path.is_file()} == first
    assert "03.js" in first

    with built_run(tmp_path / "short.db", a_few()) as (store, summary):
        write_explorer(store, summary, site)

    assert sorted(path.name for path in site.iterdir()) == ["shards", "transcripts.html"]
    assert sorted(path.name for path in (site / "shards").iterdir()) == ["01.js", "index.js"]


def test_what_breaks_off_leaves_the_earlier_shards_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    with built_run(tmp_path / "run.db", a_few()) as (store, summary):
        write_explorer(store, summary, site)
        before = {path.name: path.read_bytes() for path in site.rglob("*.*") if path.is_file()}

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("scsafety.report.explorer.index_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_explorer(store, summary, site)

    assert {path.name: path.read_bytes() for path in site.rglob("*.*") if path.is_file()} == before
    assert sorted(path.name for path in site.iterdir()) == ["shards", "transcripts.html"]


def test_no_row_and_no_text_of_a_dialogue_is_in_the_explorers_page(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", a_few()) as (store, summary):
        write_explorer(store, summary, tmp_path)
        text = (tmp_path / "transcripts.html").read_text("utf-8")
    page = Page(text)

    assert "innerHTML" not in text
    assert "fetch(" not in text
    assert "先取三份甲" not in text
    assert "scsafety export" in page.words, "what to do without JavaScript"
    policy = next(str(attrs["content"]) for tag, attrs in page.elements if "http-equiv" in attrs)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://", text)


def test_the_model_page_is_the_page_without_the_dialogues(tmp_path: Path) -> None:
    agreement = {
        "n": 90,
        "qwk": 0.61,
        "accuracy": 0.8,
        "gold": "built-in",
        "by_origin": {"real": {"n": 40, "qwk": 0.5}},
    }
    with built_run(tmp_path / "run.db", a_few(), agreement=agreement) as (store, summary):
        whole = Page(render_page(summary, read_dialogues(store, summary)))
        model = Page(render_model(summary, "transcripts.html"))

    assert model.dialogues() == {}
    assert len(whole.dialogues()) == 4
    links = [attrs["href"] for tag, attrs in model.elements if tag == "a"]
    assert "transcripts.html" in links
    assert "../index.html" in links
    assert "../index.html" not in [attrs.get("href") for _, attrs in whole.elements]
    for words in (whole.words, model.words):
        assert "按追问手法" in words
        assert "真实回答" in words
        assert "0.61" in words
    sections = [str(attrs["id"]) for tag, attrs in whole.elements if tag == "section" and "id" in attrs]
    assert [str(attrs["id"]) for tag, attrs in model.elements if tag == "section" and "id" in attrs] == sections


def test_an_older_summary_has_no_tables_by_tactic(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", a_few()) as (_, summary):
        kept = msgspec.json.decode(msgspec.json.encode(summary))
    del kept["by"]

    older = msgspec.convert(kept, type=type(summary))

    assert older.by == {}
    assert "按追问手法" not in Page(render_model(older, "transcripts.html")).words


def test_the_index_of_nothing_is_empty(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", a_few()) as (_, summary):
        assert index_of([], [])["item"] == []
        assert "0 / 0" in Page(render_explorer(summary, [])).words.replace("\n", " ")
    assert JUDGE.key == summary.judge.key
