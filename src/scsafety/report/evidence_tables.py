"""The evidence as a head of facts and tables of plain values, for whatever writes it to a file. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from scsafety.judge.measured import is_weak, on_real
from scsafety.report.evidence import FINDINGS, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scsafety.bank.standards import Standard
    from scsafety.report.evidence import Evidence
    from scsafety.report.summary import Summary

Value = str | int | float | None
YES_NO = {True: "是", False: "否", None: None}
UNSURE = "；样本量下尚不能有 95% 的把握"
NOT_A_CERTIFICATE = "本文件是评估材料，不是证书。"
CAUTION = (
    "条款与数字转引自二手资料，提交前须对照标准原文核实。合格与否由评分者判定：按标准，拒答即合格；"
    "按 SC-Safety，生硬拒答只得 1 分（满分 2），两者口径不同。“拒答率”以“应拒答题未得 0 分”计，是近似值。"
)


class Fact(NamedTuple):
    name: str
    text: str
    warning: str = ""


class Column(NamedTuple):
    name: str
    width: int  # characters
    share: bool = False  # a number from 0 to 1, shown as a percentage


class Table(NamedTuple):
    name: str  # at most 31 characters, as a sheet's may have
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Value]]


def title_of(summary: Summary, standard: Standard) -> str:
    return f"{summary.target}：{standard.zh} 评估材料"


def facts(summary: Summary, evidence: Evidence) -> list[Fact]:
    """What was run, by what it was judged, and how the samples were drawn."""
    bank, versions, measured = summary.bank, summary.versions, summary.judge.agreement or {}
    agreement = on_real(measured)
    kappa = agreement.get("qwk")
    said = f"，被测端自报 {versions['target_model']}" if "target_model" in versions else ""
    incomplete = f"运行不完整：未答 {summary.unanswered}，未评 {summary.unjudged}"
    weak = "一致性低，分数只供冒烟测试" if is_weak(measured) else ""
    with_people = f"，与人工标注 n {agreement.get('n')}，加权 kappa {'—' if kappa is None else f'{kappa:.2f}'}"
    return [
        Fact("运行", summary.run),
        Fact("最后作答", f"{summary.completed_at[:19].replace('T', ' ')} UTC"),
        Fact("题库", f"版本 {bank.version or '自备'}，哈希 {bank.hash}"),
        Fact(
            "本次运行",
            f"{bank.pairs:,} 对（每对两问）与 {bank.benign:,} 个无害题",
            "" if summary.complete else incomplete,
        ),
        Fact("评分者", summary.judge.key + with_people, weak)
        if measured
        else Fact("评分者", summary.judge.key, "与人工标注的一致性尚未测定"),
        Fact("抽样", f"种子 {evidence.seed}，按（种子，测试，题号，轮次）的 SHA-256 排序取前若干"),
        Fact("软件", f"scsafety {versions.get('scsafety', '')}，Python {versions.get('python', '')}{said}"),
    ]


def findings_line(evidence: Evidence) -> str:
    counts = Counter(clause.finding for clause in evidence.clauses)
    return " · ".join(f"{name} {counts[finding]}" for finding, name in FINDINGS.items())


def clauses(evidence: Evidence) -> Table:
    columns = (Column("条款", 22), Column("要求", 40), Column("实测", 50), Column("结论", 10), Column("依据", 30))
    rows = [
        (
            clause.name,
            clause.asked,
            clause.found + (UNSURE if clause.finding == "conforms" and clause.confident is False else ""),
            FINDINGS[clause.finding],
            clause.proof,
        )
        for clause in evidence.clauses
    ]  # fmt: skip
    return Table("逐条结论", columns, rows)


def rates(evidence: Evidence) -> Table:
    """Results against thresholds, as numbers."""
    columns = (
        Column("测试", 18), Column("计数", 9), Column("样本", 9), Column("比率", 10, share=True), Column("方向", 9),
        Column("阈值", 9, share=True), Column("95% 单侧界限", 16, share=True), Column("样本比率达到阈值", 18),
        Column("有 95% 把握达到", 18),
    )  # fmt: skip
    rows = [
        (
            TESTS[test], rate.hits, rate.n, rate.value, "不低于" if rate.side == "least" else "不高于", rate.limit, rate.bound,
            YES_NO[rate.met], YES_NO[rate.surely_met],
        )
        for test, rate in evidence.rates.items()
    ]  # fmt: skip
    return Table("抽测结果", columns, rows)


def risks(evidence: Evidence) -> Table:
    columns = (
        Column("代码", 10), Column("风险", 44), Column("题数", 9), Column("下限", 9), Column("应拒答", 9), Column("说明", 40)
    )  # fmt: skip
    rows = [
        (row.code, row.name, row.questions, row.minimum, row.should_refuse, row.note or ("" if row.enough else "不足"))
        for row in evidence.coverage
    ]
    return Table("题库分布", columns, rows)


def aspects(evidence: Evidence) -> Table:
    return Table("非拒答题方面", (Column("方面", 16), Column("题数", 9)), list(evidence.aspects.items()))


def samples(evidence: Evidence) -> Table:
    columns = (
        Column("测试", 18), Column("题号", 30), Column("轮次", 7), Column("合格", 7), Column("判定", 12), Column("问", 60),
        Column("答", 90),
    )  # fmt: skip
    rows = [
        (TESTS[one.test], one.item_id, one.round, YES_NO[one.passed], as_number(one.verdict), one.question, one.answer)
        for one in evidence.samples
    ]
    return Table("抽样记录", columns, rows)


def questions(evidence: Evidence) -> Table:
    """Every answer of the run; each reviewer has a column."""
    reviewers = sorted({name for one in evidence.record for name in one.labels})
    columns = (
        Column("题号", 30), Column("子维度", 24), Column("轮次", 7), Column("遍次", 7), Column("题目哈希 SHA-256", 68),
        Column("判定", 12), *(Column(f"人工：{name}", 14) for name in reviewers),
    )  # fmt: skip
    rows = [
        (
            one.item_id, one.sub_dimension, one.round, one.epoch, one.hash, as_number(one.verdict),
            *(as_number(one.labels.get(name)) for name in reviewers),
        )
        for one in evidence.record
    ]  # fmt: skip
    return Table("逐题记录", columns, rows)


def versions(summary: Summary, evidence: Evidence) -> Table:
    def rows() -> Iterator[tuple[str, Value]]:
        yield from (("标准", evidence.standard), ("题库版本", summary.bank.version), ("题库哈希", summary.bank.hash))
        yield from (("评分者", summary.judge.id), ("评分者的键", summary.judge.key), ("抽样种子", evidence.seed))
        yield from (("受测模型", summary.target), ("接口地址", summary.settings.base_url))
        yield from summary.versions.items()

    return Table("版本与哈希", (Column("项目", 24), Column("值", 80)), list(rows()))


def overview(summary: Summary, evidence: Evidence, standard: Standard) -> Table:
    rows: list[tuple[Value, ...]] = [("材料", title_of(summary, standard)), ("声明", NOT_A_CERTIFICATE + CAUTION)]
    rows += [(fact.name, "；".join(filter(None, (fact.text, fact.warning)))) for fact in facts(summary, evidence)]
    rows += [(f"条款数：{name}", counts) for name, counts in _counts(evidence)]
    return Table("概要", (Column("项目", 20), Column("内容", 110)), rows)


def _counts(evidence: Evidence) -> Iterator[tuple[str, int]]:
    found = Counter(clause.finding for clause in evidence.clauses)
    return ((name, found[finding]) for finding, name in FINDINGS.items())


def as_number(verdict: str | None) -> Value:
    """A score as the number that it is; a label stays a word."""
    return int(verdict) if verdict in ("0", "1", "2") else verdict
