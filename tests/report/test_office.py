"""The evidence as a document and a workbook: read back they hold the page's figures, and a model's words stay words."""

from __future__ import annotations

import builtins
import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from scsafety import api
from scsafety.bank.standards import standard_named
from scsafety.cli import app
from scsafety.errors import ConfigError
from scsafety.records import DialogueKey, JudgeCard, Score, SuiteItem, Verdict, content_hash, whole_characters
from scsafety.report.evidence import FINDINGS, TESTS, Evidence, assess
from scsafety.report.evidence_tables import CAUTION, NOT_A_CERTIFICATE
from scsafety.report.office import MOST_CHARACTERS, document, in_cell, spelt_out, workbook
from scsafety.report.visible import UNSEEN
from tests.report.build import Said, built_run, pair, twin
from tests.report.hostile import MEGABYTE, TEXTS
from tests.report.test_evidence import held

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.report.summary import Summary

docx = pytest.importorskip("docx")
openpyxl = pytest.importorskip("openpyxl")

STANDARD = standard_named("gbt45654")
SHEETS = ["概要", "逐条结论", "题库分布", "非拒答题方面", "抽测结果", "抽样记录", "逐题记录", "版本与哈希"]


def made(tmp_path: Path, dialogues: list[Any]) -> tuple[Summary, Evidence]:
    with built_run(tmp_path / "run.db", dialogues) as (store, summary):
        return summary, assess(store, STANDARD, [item for item in store.items() if not isinstance(item, SuiteItem)])


def read_book(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data))


def rows(sheet: Any) -> list[tuple[Any, ...]]:
    """Without the head."""
    return [tuple(row) for row in sheet.iter_rows(min_row=2, values_only=True)]


def text_of(file: Any) -> str:
    cells = (cell.text for table in file.tables for row in table.rows for cell in row.cells)
    return "\n".join([*(line.text for line in file.paragraphs), *cells])


def test_the_workbook_holds_the_figures_as_numbers(tmp_path: Path) -> None:
    summary, evidence = made(tmp_path, held(12, unsafe=3, refused_twins=2))

    book = read_book(workbook(summary, evidence, STANDARD))

    assert book.sheetnames == SHEETS
    found = {row[0]: row for row in rows(book["抽测结果"])}
    for test, rate in evidence.rates.items():
        _, hits, n, value, _, limit, bound, *_ = found[TESTS[test].zh]
        assert (hits, n, value, limit, bound) == pytest.approx((rate.hits, rate.n, rate.value, rate.limit, rate.bound))
    assert book["抽测结果"]["D2"].number_format == "0.0%"
    assert [row[2:5] for row in rows(book["题库分布"])] == [
        (one.questions, one.minimum, one.should_refuse) for one in evidence.coverage
    ]
    assert dict(rows(book["非拒答题方面"])) == evidence.aspects
    assert [row[3] for row in rows(book["逐条结论"])] == [FINDINGS[one.finding].zh for one in evidence.clauses]
    assert len(rows(book["抽样记录"])) == len(evidence.samples)
    assert dict(rows(book["版本与哈希"]))["题库哈希"] == summary.bank.hash


def test_every_answer_stands_with_its_hash_its_verdict_and_each_reviewers_label(tmp_path: Path) -> None:
    one, harmless = pair("psychology"), twin("psychology")
    dialogues: list[Any] = [(one, [Said(score=2), Said(score=0)]), (harmless, [Said(label="refused")])]
    with built_run(tmp_path / "run.db", dialogues) as (store, summary):
        labels: dict[str, Score] = {"li": 1, "wang": 0}
        for name, score in labels.items():
            card = JudgeCard(judge_id=f"human/{name}", model="person")
            store.add_judge(card, primary=False)
            store.add_verdict(DialogueKey(one.id), 2, card.key, Verdict(score=score))
        store.flush()
        evidence = assess(store, STANDARD, [item for item in store.items() if not isinstance(item, SuiteItem)])

    sheet = read_book(workbook(summary, evidence, STANDARD))["逐题记录"]

    assert [cell.value for cell in sheet[1]][-2:] == ["人工：li", "人工：wang"]
    assert rows(sheet) == [
        (one.id, "psychology", 1, 1, content_hash(one), 2, None, None),
        (one.id, "psychology", 2, 1, content_hash(one), 0, 1, 0),
        (harmless.id, "psychology", 1, 1, content_hash(harmless), "refused", None, None),
    ]


def test_every_sheet_has_a_frozen_head_and_columns_that_one_can_read(tmp_path: Path) -> None:
    book = read_book(workbook(*made(tmp_path, held(6)), STANDARD))

    for sheet in book:
        assert sheet.freeze_panes == "A2"
        assert (sheet.page_setup.orientation, sheet.page_setup.fitToHeight, sheet.print_title_rows) == (
            "landscape",
            0,
            "$1:$1",
        )
        for k in range(1, sheet.max_column + 1):
            assert sheet.column_dimensions[openpyxl.utils.get_column_letter(k)].width >= 7


def test_the_document_says_what_the_page_says(tmp_path: Path) -> None:
    with built_run(tmp_path / "runs" / "r" / "run.db", held(12, unsafe=3)):
        pass
    paths = api.write_standard_evidence(
        api.load_run(tmp_path / "runs" / "r"), "gbt45654", tmp_path / "out", formats=("html", "docx", "xlsx")
    )
    named = {path.suffix: path for path in paths}
    chinese = re.sub('<span class="en" lang="en">.*?</span>', "", named[".html"].read_text("utf-8"))
    page = re.sub(r"\s+", "", re.sub("<[^>]+>", "", chinese))

    file = docx.Document(str(named[".docx"]))

    said = text_of(file)
    assert NOT_A_CERTIFICATE.zh in said
    assert CAUTION.zh in said
    clauses, risks, _, rates = file.tables
    for table in (clauses, risks):
        for row in table.rows[1:]:
            for cell in row.cells:
                assert re.sub(r"\s+", "", cell.text).removesuffix("；样本量下尚不能有95%的把握") in page
    assert [cell.text for cell in rates.rows[1].cells][:4] == ["生成内容抽测", "21", "24", "87.5%"]
    assert "21/24=87.5%" in page
    facts = [line.text for line in file.paragraphs if line.text.startswith(("运行：", "题库：", "裁判：", "抽样："))]
    assert len(facts) == 4
    assert all(re.sub(r"\s+", "", fact.partition("：")[2]) in page for fact in facts)


def test_chinese_in_the_document_has_a_chinese_font_and_heads_repeat(tmp_path: Path) -> None:
    data = document(*made(tmp_path, held(6)), STANDARD)

    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        styles, body = (parts.read(f"word/{name}.xml").decode() for name in ("styles", "document"))
    normal, heading = (
        re.search(rf'<w:style [^>]*w:styleId="{name}".*?</w:style>', styles, re.DOTALL)
        for name in ("Normal", "Heading1")
    )
    assert normal is not None
    assert 'w:eastAsia="宋体"' in normal.group()
    assert heading is not None
    assert 'w:eastAsia="微软雅黑"' in heading.group()
    assert "eastAsiaTheme" not in normal.group() + heading.group()
    assert body.count("<w:tblHeader/>") == 4


def test_hostile_texts_are_texts_in_both(tmp_path: Path) -> None:
    """All of the corpus as answers, questions and names, also behind what would begin a formula."""
    dialogues: list[Any] = []
    for k, text in enumerate(TEXTS.values(), start=1):
        known = whole_characters(text)
        said = [Said(answer=text, score=2), Said(answer=f"={text}", score=0)]
        dialogues.append((pair("psychology", k, question=known, expect="refuse"), said))
        dialogues.append((twin("psychology", k, question=known), [Said(answer=f"@{text}", label="answered")]))
    summary, evidence = made(tmp_path, dialogues)
    every = " ".join(text[:500] for text in TEXTS.values())
    named = msgspec.structs.replace(
        summary, target=f"={every}", run=f"+{every}", versions={"target_model": f"-{every}"}
    )

    book, file = (
        read_book(workbook(named, evidence, STANDARD)),
        docx.Document(io.BytesIO(document(named, evidence, STANDARD))),
    )

    kinds = {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None}
    assert kinds == {"s", "n"}
    assert all(not cell.hyperlink for sheet in book for row in sheet.iter_rows() for cell in row)
    drawn = {(row[0], row[1], row[2]): row[6] for row in rows(book["抽样记录"])}
    for k, text in enumerate(TEXTS.values(), start=1):
        known = whole_characters(text)
        assert drawn[TESTS["content"].zh, f"psychology-{k:03}", 1] == in_cell(known)
        assert drawn[TESTS["content"].zh, f"psychology-{k:03}", 2] == in_cell(f"={known}")
        assert drawn[TESTS["non_refusal"].zh, f"benign-psychology-{k:03}", 1] == in_cell(f"@{known}")
    started = [
        cell for row in book["抽样记录"].iter_rows(min_row=2) for cell in row if str(cell.value).startswith(("=", "@"))
    ]
    assert len(started) >= 2 * len(TEXTS)
    assert all(cell.quotePrefix for cell in started)
    assert all(
        UNSEEN.search(cell.value) is None
        for row in book["抽样记录"].iter_rows()
        for cell in row
        if cell.data_type == "s"
    )
    assert file.paragraphs[0].text == spelt_out(f"={every}：{STANDARD.zh} 评估材料")


def test_what_no_cell_can_hold_says_how_much_is_missing() -> None:
    shown = in_cell(MEGABYTE)

    assert len(shown) <= MOST_CHARACTERS
    assert "1,000,000" not in shown
    assert re.search(r"另有 [\d,]{7,} 个字符见抽样 CSV", shown)


def test_an_escape_of_a_workbook_stays_the_text_that_it_is() -> None:
    """`_x003D_` in a cell would be shown as `=`."""
    assert in_cell("_x003D_1+1 _x_ _xyz") == "_x005F_x003D_1+1 _x_ _xyz"


@pytest.mark.parametrize(("module", "name"), [("openpyxl", "xlsx"), ("docx", "docx")])
def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    given, real = made(tmp_path, held(3)), builtins.__import__

    def missing(asked: str, *rest: Any) -> Any:
        if asked.partition(".")[0] == module:
            raise ImportError(asked)
        return real(asked, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=rf"--format {name} needs .*scsafety\[evidence\]"):
        (workbook if name == "xlsx" else document)(*given, STANDARD)


def test_the_command_writes_what_is_asked_for(tmp_path: Path) -> None:
    with built_run(tmp_path / "runs" / "r" / "run.db", held(6)):
        pass
    command = ["report", str(tmp_path / "runs" / "r"), "--out", str(tmp_path / "site")]

    both = CliRunner().invoke(app, [*command, "--standard", "gbt45654", "--format", "docx", "--format", "xlsx"])
    files = {path.name for path in (tmp_path / "site" / "r").glob("evidence*")}
    alone = CliRunner().invoke(app, [*command, "--format", "docx"])
    other = CliRunner().invoke(app, [*command, "--standard", "gbt45654", "--format", "odt"])

    assert both.exit_code == 0, both.output
    assert files == {"evidence-gbt45654.docx", "evidence-gbt45654.xlsx"}
    assert isinstance(alone.exception, ConfigError) or "--standard" in alone.output
    assert isinstance(other.exception, ConfigError) or "html, docx, xlsx" in other.output
    assert alone.exit_code == other.exit_code != 0
