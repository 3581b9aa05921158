"""The evidence as files: a page with the samples as CSV and everything as JSON, a document, a workbook."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.report import evidence_tables as tables
from scsafety.report.evidence import TESTS
from scsafety.report.export import cell
from scsafety.report.html import content_policy, environment, source
from scsafety.report.office import document, workbook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scsafety.bank.standards import Standard
    from scsafety.report.evidence import Drawn, Evidence
    from scsafety.report.summary import Summary

FORMATS = ("html", "docx", "xlsx")


def refuse_unknown(formats: Sequence[str]) -> None:
    """Raises ConfigError."""
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"--format {name}: evidence is written as {', '.join(FORMATS)}")


def write_evidence(
    summary: Summary, evidence: Evidence, standard: Standard, folder: Path, *, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """`html`: the page, the samples as CSV and everything as JSON; `docx` and `xlsx`: a file each. Returns their paths.

    Raises ConfigError for a format that there is not or whose extra is missing, and MachineError.
    """
    refuse_unknown(formats)
    stem = f"evidence-{standard.id}"
    written: dict[Path, bytes] = {}
    if "html" in formats:
        record = msgspec.json.format(msgspec.json.encode({"run": summary.run, "evidence": evidence}), indent=1)
        written |= {
            folder / f"{stem}.html": _page(summary, evidence, standard).encode(),
            folder / f"{stem}-samples.csv": _csv(evidence.samples).encode(
                "utf-8-sig"
            ),  # so that Excel reads it as UTF-8
            folder / f"{stem}.json": record,
        }
    if "docx" in formats:
        written[folder / f"{stem}.docx"] = document(summary, evidence, standard)
    if "xlsx" in formats:
        written[folder / f"{stem}.xlsx"] = workbook(summary, evidence, standard)
    for path, data in written.items():
        write_whole(path, data)
    return list(written)


def _page(summary: Summary, evidence: Evidence, standard: Standard) -> str:
    style, script = source("evidence.css"), source("lang.js")
    values = {
        "tables": tables,
        "facts": tables.facts(summary, evidence),
        "findings_line": tables.findings_line(evidence),
        "clauses": tables.clauses(evidence),
        "risks": tables.risks(evidence),
        "aspects": tables.aspects(evidence),
        "title": tables.title_of(summary, standard),
        "summary": summary,
        "evidence": evidence,
        "standard": standard,
        "tests": TESTS,
        "style": style,
        "script": script,
        "policy": content_policy(style, script),
    }
    return environment().get_template("evidence.html.j2").render(values)


def _csv(samples: Sequence[Drawn]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["test", "item_id", "round", "passed", "verdict", "question", "answer"])
    for one in samples:
        row = (one.test, one.item_id, one.round, one.passed, one.verdict, one.question, one.answer)
        writer.writerow([cell(value) for value in row])
    return text.getvalue()
