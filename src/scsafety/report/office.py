"""The evidence as files of an office: a document to sign (DOCX) and a workbook to count in (XLSX).

Both hold text that models wrote. It stays text: nothing begins a formula, nothing is unseen, and what XML cannot hold is
spelt out. A table's numbers are numbers.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from scsafety.errors import ConfigError
from scsafety.report import evidence_tables as tables
from scsafety.report.evidence import TESTS
from scsafety.report.evidence_tables import in_chinese
from scsafety.report.export import FORMULA_STARTS
from scsafety.report.visible import UNSEEN, named, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.bank.standards import Standard
    from scsafety.report.evidence import Evidence
    from scsafety.report.evidence_tables import Table, Value
    from scsafety.report.summary import Summary

BODY_FONT, HEAD_FONT = "宋体", "微软雅黑"
NO_CHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # `_x003D_` in a workbook is the character `=`
MOST_CHARACTERS = 32_767  # of a cell
PAGE_WIDTH_CM, LEAST_WIDTH_CM = 16.0, 1.6


def workbook(summary: Summary, evidence: Evidence, standard: Standard) -> bytes:
    """XLSX, a sheet a table. Raises ConfigError without openpyxl."""
    try:
        from openpyxl import Workbook
    except ImportError as error:
        raise ConfigError("--format xlsx needs openpyxl: pip install 'scsafety[evidence]'") from error
    book = Workbook(write_only=True)
    book.properties.creator, book.properties.title = "scsafety", spelt_out(tables.title_of(summary, standard).zh)
    for table in (
        tables.overview(summary, evidence, standard),
        tables.clauses(evidence),
        tables.risks(evidence),
        tables.aspects(evidence),
        tables.rates(evidence),
        tables.samples(evidence),
        tables.questions(evidence),
        tables.versions(summary, evidence),
    ):
        _add_sheet(book, table)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def document(summary: Summary, evidence: Evidence, standard: Standard) -> bytes:
    """DOCX: what the page says, to print and sign. Raises ConfigError without python-docx."""
    try:
        import docx
    except ImportError as error:
        raise ConfigError("--format docx needs python-docx: pip install 'scsafety[evidence]'") from error
    file = docx.Document()
    _set_fonts(file)
    title = spelt_out(tables.title_of(summary, standard).zh)
    file.core_properties.author, file.core_properties.title = "scsafety", title[:255]
    file.add_heading(title, 0)
    caution = file.add_paragraph()
    caution.add_run(tables.NOT_A_CERTIFICATE.zh).bold = True
    caution.add_run(tables.CAUTION.zh)
    for fact in tables.facts(summary, evidence):
        line = file.add_paragraph(f"{fact.name.zh}：{spelt_out(str(in_chinese(fact.text)))}")
        if fact.warning:
            line.add_run(f"；{fact.warning.zh}").bold = True
    file.add_heading(tables.CLAUSES.zh, 1)
    file.add_paragraph(tables.findings_line(evidence).zh)
    _add_table(file, tables.clauses(evidence))
    file.add_heading(tables.RISKS.zh, 1)
    _add_table(file, tables.risks(evidence))
    file.add_heading(tables.ASPECTS.zh, 1)
    _add_table(file, tables.aspects(evidence))
    file.add_heading(tables.SAMPLES.zh, 1)
    _add_table(file, tables.rates(evidence))
    file.add_paragraph("问答全文与逐题记录见同名的 XLSX（--format xlsx）或抽样 CSV。下面是题号、轮次与判定。")
    for test, name in TESTS.items():
        drawn = [one for one in evidence.samples if one.test == test]
        line = file.add_paragraph()
        line.add_run(f"{name.zh}（{len(drawn)} 个）：").bold = True
        line.add_run(spelt_out(" ".join(f"{one.item_id}/{one.round}:{one.verdict}" for one in drawn)) or "无")
    signed = file.add_paragraph("\n评估人：＿＿＿＿＿＿　　复核人：＿＿＿＿＿＿　　日期：＿＿＿＿＿＿")
    signed.paragraph_format.keep_together = True
    data = io.BytesIO()
    file.save(data)
    return data.getvalue()


def spelt_out(text: str) -> str:
    """Text as XML can hold it, nothing of it unseen.

    >>> spelt_out("a\\x00\\ufffe\\u202eb")
    'a␀[U+FFFE][U+202E]b'
    """
    return NO_CHARACTER.sub(named, visible(text))


def in_cell(text: str) -> str:
    """Text as a workbook's cell can hold it; what is too long says how much is missing.

    >>> in_cell("_x003D_1")
    '_x005F_x003D_1'
    """
    shown = ESCAPE.sub("_x005F_", spelt_out(text))
    if len(shown) <= MOST_CHARACTERS:
        return shown
    kept = MOST_CHARACTERS - 60
    return f"{shown[:kept]}……（此格放不下，另有 {len(shown) - kept:,} 个字符见抽样 CSV）"


def _add_sheet(book: Any, table: Table) -> None:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.properties import PageSetupProperties
    from openpyxl.worksheet.worksheet import Worksheet

    sheet = book.create_sheet(table.name.zh)
    sheet.freeze_panes, sheet.print_title_rows = "A2", "1:1"
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", Worksheet.PAPERSIZE_A4
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.page_setup.fitToHeight = 0  # one page wide, as long as it is
    for k, column in enumerate(table.columns, start=1):
        sheet.column_dimensions[get_column_letter(k)].width = column.width
    head, body, wrapped = (
        Font(name=HEAD_FONT, bold=True),
        Font(name=BODY_FONT),
        Alignment(wrap_text=True, vertical="top"),
    )

    def cell(of: Value, *, font: Font = body, share: bool = False) -> Any:
        value = in_chinese(of)
        made = WriteOnlyCell(sheet, value=None if isinstance(value, str) else value)
        made.font, made.alignment = font, wrapped
        if isinstance(value, str):
            made.value = in_cell(value)
            made.data_type = "s"  # it would be "f", a formula, for what begins with `=`
            # text for good: a spreadsheet that edits the cell does not read it anew
            made.quotePrefix = UNSEEN.sub("", value).lstrip().startswith(FORMULA_STARTS)
        elif share:
            made.number_format = "0.0%"
        return made

    sheet.append([cell(column.name, font=head) for column in table.columns])
    for row in table.rows:
        sheet.append([cell(value, share=column.share) for column, value in zip(table.columns, row, strict=True)])


def _set_fonts(file: Any) -> None:
    """Chinese glyphs have a font of their own in each style; without it Word takes what it likes."""
    from docx.oxml.ns import qn
    from docx.shared import Pt

    for name, font in (("Normal", BODY_FONT), ("Title", HEAD_FONT), ("Heading 1", HEAD_FONT)):
        style = file.styles[name]
        style.font.name = font
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for theme in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
            fonts.attrib.pop(qn(f"w:{theme}"), None)  # a theme's font would win
        fonts.set(qn("w:eastAsia"), font)
    file.styles["Normal"].font.size = Pt(10.5)
    file.styles["Title"].font.size = Pt(18)


def _add_table(file: Any, table: Table) -> None:
    from docx.oxml import OxmlElement
    from docx.shared import Cm, Pt

    made = file.add_table(rows=1, cols=len(table.columns), style="Table Grid")
    made.autofit = False
    rows = [[column.name.zh for column in table.columns]]
    rows += [[_shown(*one) for one in zip(row, table.columns, strict=True)] for row in table.rows]
    for _ in table.rows:
        made.add_row()
    widths = [Cm(width) for width in widths_cm([column.width for column in table.columns])]
    for column, width in zip(made.columns, widths, strict=True):
        column.width = width
    for drawn, texts in zip(made.rows, rows, strict=True):
        for place, text, width in zip(drawn.cells, texts, widths, strict=True):
            place.text, place.width = text, width
            place.paragraphs[0].runs[0].font.size = Pt(9)
    for head in made.rows[0].cells:
        head.paragraphs[0].runs[0].bold = True
    made.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))  # noqa: SLF001 (repeats on every page; no public way)


def widths_cm(characters: Sequence[float]) -> list[float]:
    """A page's width shared among columns as they ask for it, none so narrow that a number of three digits breaks.

    >>> widths_cm([10, 10, 180])
    [1.6, 1.6, 12.8]
    """
    asked = [PAGE_WIDTH_CM * one / sum(characters) for one in characters]
    free = PAGE_WIDTH_CM - LEAST_WIDTH_CM * len(asked)
    over = [max(0.0, one - LEAST_WIDTH_CM) for one in asked]
    return [round(LEAST_WIDTH_CM + (free * one / sum(over) if sum(over) else 0.0), 2) for one in over]


def _shown(of: Value, column: tables.Column) -> str:
    value = in_chinese(of)
    if value is None:
        return "—"
    if isinstance(value, str):
        return spelt_out(value)
    return f"{value:.1%}" if column.share else f"{value:,}"
