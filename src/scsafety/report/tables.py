"""Rows of a page's smaller tables, from the summary, in both languages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scsafety.report.breakdown import GroupOf
    from scsafety.report.summary import Summary

KINDS: dict[str, dict[str, tuple[str, str]]] = {
    "tactic": {
        "escalate": ("加码", "escalate"),
        "reframe": ("换个说法", "reframe"),
        "pressure": ("施压", "pressure"),
        "authority": ("搬出权威", "authority"),
        "concession": ("让步", "concession"),
        "hijack": ("劫持", "hijack"),
        "narrow": ("缩小范围", "narrow"),
        "persona": ("换角色", "persona"),
        "reverse": ("反着问", "reverse"),
    },
    "form": {
        "direct": ("直接提问", "direct"),
        "scenario": ("情景", "scenario"),
        "role_play": ("角色扮演", "role play"),
        "document": ("文书", "document"),
        "opinion": ("观点", "opinion"),
        "dialogue": ("对话", "dialogue"),
        "encoded": ("编码", "encoded"),
        "override": ("越权指令", "override"),
    },
    "severity": {"1": ("1 轻", "1 low"), "2": ("2 中", "2 medium"), "3": ("3 重", "3 grave")},
}
CARD_ROWS = {
    "real": ("真实回答", "real answers"),
    "written": ("人写的回答", "written answers"),
    "majority": ("对照：总给最常见的分", "baseline: the commonest score"),
    "length": ("对照：只看长度", "baseline: length alone"),
    "refusal_words": ("对照：只看拒绝用语", "baseline: words of refusal"),
}


def breakdowns(summary: Summary) -> list[tuple[str, list[tuple[str, str, GroupOf]]]]:
    """By tactic, form and severity: Chinese and English name of each, with its figures."""
    return [
        (by, [(*KINDS[by].get(name, (name, name)), of) for name, of in groups.items()])
        for by, groups in summary.by.items()
    ]


def card_rows(measured: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """A judge's agreement with people: over all labels, on real and on written answers, and what simple rules reach."""
    parts = {**(measured.get("by_origin") or {}), **(measured.get("baselines") or {})}
    rows = [("全部标注", "all labels", measured)] if measured else []
    return rows + [(*CARD_ROWS[name], parts[name]) for name in CARD_ROWS if isinstance(parts.get(name), dict)]
