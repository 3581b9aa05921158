"""The HTML report without a browser: what stands in it, and that hostile text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety import taxonomy
from scsafety.errors import MachineError
from scsafety.judge.people import LabelNote, person
from scsafety.records import DialogueKey, Verdict
from scsafety.report.page import Dialogue, ShownTurn, read_dialogues, render_page, write_report
from scsafety.report.summary import summarise
from scsafety.report.visible import visible
from tests.report.build import JUDGE, Said, built_run, pair, twin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Item
    from scsafety.report.summary import Summary

Held = list[tuple["Item", "Sequence[Said]"]]

ATTACKS = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '" onmouseover="window.pwned=1" x="\' onfocus=\'window.pwned=1',
    "</div></details></main></style></script><script src=https://evil.example/x.js></script>",
    "<!-- --><![CDATA[ <svg/onload=window.pwned=1> ]]>",
    "{{ 7 * 7 }}{% raw %}{# &lt;b&gt; &#x3c;script&#x3e;",
    "<meta http-equiv=refresh content=0;url=https://evil.example/><base href=https://evil.example/>",
]


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sources: dict[str, str] = {}  # of style and script
        self._open = ""
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open if tag != self._open else ""

    def handle_data(self, data: str) -> None:
        if self._open in ("style", "script"):
            self.sources[self._open] = self.sources.get(self._open, "") + data
        else:
            self.words += data

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Elements and the names of their attributes: what a text must never change."""
        return [(tag, tuple(attrs)) for tag, attrs in self.elements]

    def dialogues(self) -> dict[str, dict[str, str | None]]:
        return {str(attrs["id"]): attrs for tag, attrs in self.elements if attrs.get("class") == "dialogue"}


def rendered(tmp_path: Path, held: Held, **given: Any) -> tuple[str, Summary]:
    with built_run(tmp_path / "run.db", held, **given) as (store, summary):
        return render_page(summary, read_dialogues(store, summary)), summary


def three_dimensions() -> Held:
    held: Held = []
    for k, sub in enumerate(("property_privacy", "law_abiding", "prompt_leaking", "physical_harm")):
        for number in (1, 2, 3):
            held.append(
                (pair(sub, number), [Said(score=(2, 1, 0)[(k + number) % 3]), Said(score=(0, 2, 2)[number % 3])])
            )
    held.append((twin("law_abiding"), [Said(label="refused")]))
    held.append((twin("prompt_leaking"), [Said(label="answered")]))
    return held


def test_every_score_of_the_summary_stands_in_the_page(tmp_path: Path) -> None:
    page, summary = rendered(tmp_path, three_dimensions())

    words = Page(page).words
    scores = [summary.overall, summary.model_written, *summary.dimensions.values(), *summary.sub_dimensions.values()]
    scores += [summary.rounds["1"], summary.rounds["2"]]
    assert all(of.score is not None for of in scores)
    assert [of for of in scores if f"{of.score:.2f}" not in words] == []
    gap = summary.rounds["gap"].score
    assert gap is not None
    assert f"{gap:+.2f}".replace("-", "−") in words
    assert summary.unsafe_rate is not None
    assert summary.cave_rate is not None
    assert summary.over_refusal is not None
    for rate in (summary.unsafe_rate, summary.cave_rate, summary.over_refusal.rate):
        assert f"{rate:.1%}" in words
    assert summary.overall.ci95 is not None
    assert f"{summary.overall.ci95[0]:.1f} ~ {summary.overall.ci95[1]:.1f}" in words


def test_the_rounds_of_a_sub_dimension_average_to_its_score(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", three_dimensions()) as (_, summary):
        assert len(summary.sub_dimension_rounds) == 4
        for sub, of in summary.sub_dimensions.items():
            first, second = summary.sub_dimension_rounds[sub]
            assert of.score == pytest.approx((first + second) / 2)  # type: ignore[operator]


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path, attack: str) -> None:
    def held(text: str) -> Held:
        said = Said(answer=text, reason=text, reasoning=text, finish_reason=text, score=0)
        asked = pair("goal_hijacking", question=text, follow_up=text, risk_point=text, good_answer=text, system=text)
        return [
            (asked, [said, Said(answer=text, judge_error=text)]),
            (pair("psychology", question=text), [Said(error=text)]),
            (twin("psychology", question=text, why_harmless=text), [Said(answer=text, label="partial", reason=text)]),
        ]

    calm, _ = rendered(tmp_path / "calm", held("你好"))
    wild, _ = rendered(tmp_path / "wild", held(attack))

    assert Page(wild).shape == Page(calm).shape
    assert Page(wild).sources == Page(calm).sources
    assert Page(wild).words.count(attack) == Page(calm).words.count("你好")


def test_hostile_names_of_target_and_run_add_nothing_either(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", three_dimensions()) as (store, summary):
        dialogues = read_dialogues(store, summary)
    wild = msgspec.structs.replace(summary, target=ATTACKS[2], run=ATTACKS[3], versions={"target_model": ATTACKS[1]})
    calm = msgspec.structs.replace(summary, target="x", run="y", versions={"target_model": "z"})

    assert Page(render_page(wild, dialogues)).shape == Page(render_page(calm, dialogues)).shape


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x1b[31mb\x00\x07\x7f\r", "a␛[31mb␀␇␡␍"),
        ("a\x85b", "a[U+0085]b"),
        ("user\u202egnp.exe\u2066\u200f", "user[U+202E]gnp.exe[U+2066][U+200F]"),
        ("零\u200b宽\ufeff\u2060\u200d", "零[U+200B]宽[U+FEFF][U+2060][U+200D]"),
        ("tag\U000e0041", "tag[U+E0041]"),
        ("half \ud83d", "half [U+D83D]"),
        ("行一\n\t行二 😀 ①", "行一\n\t行二 😀 ①"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(tmp_path: Path, raw: str, shown: str) -> None:
    turn = ShownTurn(round=1, question=raw, answer=raw, reason=raw, error=raw)
    dialogue = Dialogue(item_id="psychology-001", kind="pair", sub_dimension="psychology", turns=(turn,))
    with built_run(tmp_path / "run.db", three_dimensions()) as (_, summary):
        page = render_page(msgspec.structs.replace(summary, target=raw), [dialogue])

    assert visible(raw) == shown
    assert page.count(shown) >= 4
    assert raw == shown or raw not in page
    assert page.encode()


def test_nothing_is_loaded_from_outside(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, three_dimensions())

    parsed = Page(page)
    loading = ("src", "srcset", "action", "formaction", "poster", "data", "background", "xlink:href", "ping")
    for tag, attrs in parsed.elements:
        assert not set(attrs) & set(loading), (tag, attrs)
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        assert (attrs.get("href") or "#").startswith("#"), (tag, attrs)
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "form"})
    assert not re.search(r"https?://", page)
    assert not re.search(r"url\(|@import", parsed.sources["style"])


def test_the_policy_allows_the_page_its_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, three_dimensions())

    parsed = Page(page)
    policy = next(attrs["content"] for tag, attrs in parsed.elements if "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.sources[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert sum(tag == name for tag, _ in parsed.elements) == 1


def test_an_incomplete_run_says_so_and_a_complete_one_does_not(tmp_path: Path) -> None:
    cut = Said(score=2, finish_reason="length", blocked=None)
    whole, _ = rendered(tmp_path / "a", [(pair("psychology"), [cut, Said(score=1, answer="", blocked="input")])])
    broken, summary = rendered(tmp_path / "b", [(pair("psychology"), [Said(error="timeout: no answer in 300 s")])])

    assert "⚠ 不完整" not in whole
    assert "✓ 完整" in whole
    assert re.search(r"截断于长度上限.*?<dd>1 <small>50.0%</small>", whole, re.DOTALL)
    assert re.search(r"平台拦截.*?<dd>1 <small><span[^>]*>输入 1 · 输出 0 · 不明 0</span>", whole, re.DOTALL)
    assert summary.unanswered == 2
    assert "⚠ 不完整" in broken
    assert "✓ 完整" not in broken
    assert "timeout: no answer in 300 s" in Page(broken).words


def test_an_unmeasured_judge_is_named_as_such_and_a_measured_one_with_its_figures(tmp_path: Path) -> None:
    held = three_dimensions()
    measured = {"n": 400, "accuracy": 0.8125, "qwk": 0.771, "unsafe": {"recall": 0.903}}

    unknown, _ = rendered(tmp_path / "a", held)
    known, _ = rendered(tmp_path / "b", held, agreement=measured)

    assert JUDGE.key in Page(unknown).words
    assert "一致性尚未测定" in unknown
    assert "一致性尚未测定" not in known
    assert all(figure in Page(known).words for figure in ("400", "0.812", "0.771", "0.903"))
    assert "冒烟测试" not in known


def test_a_judge_that_hardly_agrees_with_people_is_for_smoke_tests_only(tmp_path: Path) -> None:
    measured = {"n": 400, "accuracy": 0.9, "qwk": 0.8, "unsafe": {}, "by_origin": {"real": {"n": 200, "qwk": 0.2}}}

    page, _ = rendered(tmp_path, three_dimensions(), agreement=measured)

    assert "只供冒烟测试" in page
    assert "真实回答 n" in page
    assert "0.800" not in Page(page).words


def test_a_run_that_nobody_judged_still_has_a_page(tmp_path: Path) -> None:
    page, summary = rendered(tmp_path, [(pair("psychology"), [Said(), Said()])], judged=False)

    assert summary.overall.score is None
    assert "尚无裁判" in page
    assert Page(page).dialogues()["psychology-001"]["data-r2"] == "unjudged"


def test_each_dialogue_carries_what_the_filters_ask_for(tmp_path: Path) -> None:
    page, _ = rendered(
        tmp_path,
        [
            (pair("prompt_leaking", 1), [Said(score=1), Said(score=0)]),
            (pair("prompt_leaking", 2), [Said(score=1, answer="", blocked="output"), Said(judge_error="unreadable")]),
            (pair("psychology", 1), [Said(score=2), Said(error="timeout")]),
            (twin("psychology", 1), [Said(label="blocked", answer="", blocked="input")]),
        ],
    )

    names = ("data-kind", "data-dimension", "data-sub", "data-r1", "data-r2", "data-cave", "data-blocked")
    assert {id_: tuple(of[name] for name in names) for id_, of in Page(page).dialogues().items()} == {
        "psychology-001": ("pair", "responsible", "psychology", "2", "unanswered", "no", "no"),
        "prompt_leaking-001": ("pair", "attack", "prompt_leaking", "1", "0", "yes", "no"),
        "prompt_leaking-002": ("pair", "attack", "prompt_leaking", "1", "unjudged", "no", "yes"),
        "benign-psychology-001": ("benign", "responsible", "psychology", "blocked", "", "no", "yes"),
    }


def test_every_epoch_has_its_dialogue_and_one_not_held_yet_shows_what_will_be_asked(tmp_path: Path) -> None:
    asked = pair("psychology", follow_up="再问一次？")
    page, summary = rendered(tmp_path, [(asked, [Said(score=2), Said(score=2)])], epochs=2)

    parsed = Page(page)
    assert list(parsed.dialogues()) == ["psychology-001", "psychology-001-e2"]
    assert parsed.dialogues()["psychology-001-e2"]["data-r1"] == "unanswered"
    assert parsed.words.count("未发送") == summary.unanswered == 2
    assert parsed.words.count("再问一次？") == 2


def test_another_judges_total_stands_beside_the_first_judges(tmp_path: Path) -> None:
    page, summary = rendered(tmp_path, [(pair("psychology"), [Said(score=2, other=1), Said(score=0, other=1)])])

    (other,) = summary.other_judges
    assert f"另一裁判 {other.key}：总分 50.00" in Page(page).words


def test_questions_and_the_system_message_are_shown_as_they_were_sent(tmp_path: Path) -> None:
    asked = pair("prompt_leaking", system="题目自带的提示词")
    page, _ = rendered(tmp_path, [(asked, [Said(score=2), Said(score=2)])], system="全程的提示词")

    words = Page(page).words
    assert asked.question in words
    assert asked.follow_up in words
    assert "全程的提示词" in words
    assert "题目自带的提示词" not in words  # was not in what this run sent


def test_all_24_definitions_and_weights_are_there(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, three_dimensions())

    words = Page(page).words
    assert [sub.id for sub in taxonomy.sub_dimensions() if sub.definition not in words] == []


def test_a_share_just_short_of_one_never_reads_a_hundred_percent(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", three_dimensions()) as (store, summary):
        short = msgspec.structs.replace(summary.overall, coverage=0.99996)
        page = render_page(msgspec.structs.replace(summary, overall=short), read_dialogues(store, summary))

    assert "99.9%" in Page(page).words


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", three_dimensions()) as (store, summary):
        first = write_report(store, summary, tmp_path / "a").read_bytes()
        second = write_report(store, summary, tmp_path / "b").read_bytes()

    assert first == second


def test_a_page_that_cannot_be_written_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    with built_run(tmp_path / "run.db", three_dimensions()) as (store, summary):
        path = write_report(store, summary, folder)
        path.write_text("the old page")

        def full_disk(half: Path, path: Path) -> Path:
            raise OSError(28, "No space left on device", str(half), None, str(path))

        monkeypatch.setattr(Path, "replace", full_disk)
        with pytest.raises(MachineError, match="No space left on device; choose a writable folder"):
            write_report(store, summary, folder)

    assert path.read_text() == "the old page"
    assert [file.name for file in folder.iterdir()] == ["index.html"]


def test_labels_by_people_stand_beside_the_judges_score(tmp_path: Path) -> None:
    held = [(pair("environment", k), [Said(score=2), Said(score=2)]) for k in range(1, 31)]
    with built_run(tmp_path / "run.db", held) as (store, summary):
        note = msgspec.json.encode(LabelNote("random", 1)).decode()
        for name in ("li", "wang"):
            store.add_judge(person(name), primary=False)
            for k in range(1, 16):
                for seq in (1, 2):
                    score = 1 if k % 2 or name == "li" else 2
                    verdict = Verdict(score=score, raw=note)  # type: ignore[arg-type]
                    store.add_verdict(DialogueKey(f"environment-{k:03d}"), seq, person(name).key, verdict)
        store.flush()
        page = write_report(store, summarise(store, summary.settings, run="r"), tmp_path / "report").read_text("utf-8")

    # every pair's labels come to 1 of 2; the judge says 2 of 2 everywhere and explains nothing of it
    words = Page(page).words
    assert "by the judge alone 100.00 (" in words
    assert "corrected by people 50.00 (50.0 ~ 50.0，标注 15 对" in words
    assert "30 个由两人以上标注" in words
