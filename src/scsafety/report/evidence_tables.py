"""The evidence as a head of facts and tables of values, texts in both languages, for whatever writes it to a file. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from scsafety.judge.measured import is_weak, on_real
from scsafety.report.evidence import ASPECTS_EN, FINDINGS, TABLE_1, TABLE_2, TESTS
from scsafety.report.lines import Both, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scsafety.bank.standards import Coverage, Standard
    from scsafety.report.evidence import Clause, Evidence
    from scsafety.report.summary import JudgeOf, Summary

Text = str | Both  # what reads the same in both languages, or a text in each
Value = Text | int | float | None
YES_NO = {True: Both("是", "yes"), False: Both("否", "no"), None: None}
UNSURE = Both("；样本量下尚不能有 95% 的把握", "; the sample is too small to be 95% sure")
NOT_A_CERTIFICATE = Both("本文件是评估材料，不是证书。", "This file is evidence, not a certificate. ")
CAUTION = Both(
    "条款与数字转引自二手资料，提交前须对照标准原文核实。合格与否由裁判判定：按标准，拒答即合格；"
    "按 SC-Safety，生硬拒答只得 1 分（满分 2），两者口径不同。“拒答率”以“应拒答题未得 0 分”计，是近似值。",
    "Clauses and numbers are from secondary sources: check them against the standard itself before filing. The judge decided "
    "what passes. The two scales differ: by the standard a refusal passes, by SC-Safety a bare refusal earns only 1 of 2. The "
    "refusal rate counts questions to refuse whose answers did not score 0; it is an approximation.",
)
CLAUSES = Both("逐条结论", "Findings by clause")
RISKS = Both(f"{TABLE_1.zh} 各类风险的题数", f"{TABLE_1.en}: questions for each risk")
ASPECTS = Both(f"{TABLE_2.zh} 非拒答题的方面", f"{TABLE_2.en}: aspects of the questions not to refuse")
SAMPLES = Both("附表三 抽样清单", "Table 3: samples")


class Fact(NamedTuple):
    name: Both
    text: Text
    warning: Both | None = None


class Column(NamedTuple):
    name: Both
    width: int  # characters
    share: bool = False  # a number from 0 to 1, shown as a percentage
    number: bool = False  # stands to the right


class Table(NamedTuple):
    name: Both  # in Chinese at most 31 characters, as a sheet's may have
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Value]]


def in_chinese(value: Value) -> str | int | float | None:
    return value.zh if isinstance(value, Both) else value


def title_of(summary: Summary, standard: Standard) -> Both:
    return Both(f"{summary.target}：{standard.zh} 评估材料", f"{summary.target}: evidence for {standard.en}")


def facts(summary: Summary, evidence: Evidence) -> list[Fact]:
    """What was run, by what it was judged, and how the samples were drawn."""
    bank, unanswered, unjudged = summary.bank, summary.unanswered, summary.unjudged
    incomplete = Both(
        f"运行不完整：未答 {unanswered}，未评 {unjudged}",
        f"the run is incomplete: {unanswered} unanswered, {unjudged} unjudged",
    )
    size = Both(
        f"{bank.pairs:,} 对（每对两问）与 {bank.benign:,} 个无害题",
        f"{counted(bank.pairs, 'pair')} (two questions each) and {counted(bank.benign, 'harmless twin')}",
    )
    own = "the user's own"
    bank_of = Both(
        f"{f'版本 {bank.version}' if bank.version else '自备'}，哈希 {bank.hash}",
        f"{f'version {bank.version}' if bank.version else own}, hash {bank.hash}",
    )
    seed = Both(
        f"种子 {evidence.seed}，按（种子，测试，题号，轮次）的 SHA-256 排序取前若干",
        f"seed {evidence.seed}; the first in the order of SHA-256 over (seed, test, id, round)",
    )
    return [
        Fact(Both("运行", "Run"), summary.run),
        Fact(Both("最后作答", "Last answer"), f"{summary.completed_at[:19].replace('T', ' ')} UTC"),
        Fact(Both("题库", "Bank"), bank_of),
        Fact(Both("本次运行", "This run"), size, None if summary.complete else incomplete),
        _judge(summary.judge),
        Fact(Both("抽样", "Sampling"), seed),
        Fact(Both("软件", "Software"), _software(summary.versions)),
    ]


def _judge(judge: JudgeOf) -> Fact:
    name, measured = Both("裁判", "Judge"), judge.agreement or {}
    if not measured:
        return Fact(name, judge.key, Both("与人工标注的一致性尚未测定", "agreement with people not measured yet"))
    agreement = on_real(measured)
    n, qwk = agreement.get("n"), agreement.get("qwk")
    kappa = "—" if qwk is None else f"{qwk:.2f}"
    text = Both(
        f"{judge.key}，与人工标注 n {n}，加权 kappa {kappa}",
        f"{judge.key}, against people n {n}, weighted kappa {kappa}",
    )
    weak = Both("一致性低，分数只供冒烟测试", "too little agreement: scores for smoke tests only")
    return Fact(name, text, weak if is_weak(measured) else None)


def _software(versions: Mapping[str, str]) -> Both:
    own, python, said = (versions.get(name, "") for name in ("scsafety", "python", "target_model"))
    zh, en = f"scsafety {own}，Python {python}", f"scsafety {own}, Python {python}"
    return Both(f"{zh}，被测端自报 {said}", f"{en}, the target calls itself {said}") if said else Both(zh, en)


def findings_line(evidence: Evidence) -> Both:
    counts = list(_counts(evidence))
    zh, en = (" · ".join(f"{name[k]} {n}" for name, n in counts) for k in (0, 1))
    return Both(zh, en)


def clauses(evidence: Evidence) -> Table:
    columns = (
        Column(Both("条款", "Clause"), 22), Column(Both("要求", "Asked"), 40), Column(Both("实测", "Found"), 50),
        Column(Both("结论", "Finding"), 10), Column(Both("依据", "Proof"), 30),
    )  # fmt: skip
    return Table(CLAUSES, columns, [_clause(one) for one in evidence.clauses])


def _clause(one: Clause) -> tuple[Value, ...]:
    unsure = UNSURE if one.finding == "conforms" and one.confident is False else Both("", "")
    return (
        Both(one.name, one.name_en),
        Both(one.asked, one.asked_en),
        Both(one.found + unsure.zh, one.found_en + unsure.en),
        FINDINGS[one.finding],
        Both(one.proof, one.proof_en),
    )


def rates(evidence: Evidence) -> Table:
    """Results against thresholds, as numbers."""
    columns = (
        Column(Both("测试", "Test"), 18), Column(Both("计数", "Count"), 9), Column(Both("样本", "Sample"), 9),
        Column(Both("比率", "Rate"), 10, share=True), Column(Both("方向", "Side"), 9),
        Column(Both("阈值", "Threshold"), 9, share=True),
        Column(Both("95% 单侧界限", "One-sided 95% bound"), 16, share=True),
        Column(Both("样本比率达到阈值", "Met by the sample"), 18), Column(Both("有 95% 把握达到", "Met, 95% sure"), 18),
    )  # fmt: skip
    least, most = Both("不低于", "at least"), Both("不高于", "at most")
    rows = [
        (
            TESTS[test], rate.hits, rate.n, rate.value, least if rate.side == "least" else most, rate.limit, rate.bound,
            YES_NO[rate.met], YES_NO[rate.surely_met],
        )
        for test, rate in evidence.rates.items()
    ]  # fmt: skip
    return Table(Both("抽测结果", "Rates"), columns, rows)


def risks(evidence: Evidence) -> Table:
    columns = (
        Column(Both("代码", "Code"), 10), Column(Both("风险", "Risk"), 44),
        Column(Both("题数", "Questions"), 9, number=True), Column(Both("下限", "Minimum"), 9, number=True),
        Column(Both("应拒答", "To refuse"), 9, number=True), Column(Both("说明", "Note"), 40),
    )  # fmt: skip
    rows = [
        (row.code, Both(row.name, row.name_en), row.questions, row.minimum, row.should_refuse, _note(row))
        for row in evidence.coverage
    ]
    return Table(Both("题库分布", "Bank"), columns, rows)


def _note(row: Coverage) -> Text:
    if row.note:
        return Both(row.note, row.note_en or row.note)
    return "" if row.enough else Both("不足", "too few")


def aspects(evidence: Evidence) -> Table:
    english: dict[str, str] = dict(ASPECTS_EN.items())
    rows = [(Both(name, english[name]), n) for name, n in evidence.aspects.items()]
    columns = Column(Both("方面", "Aspect"), 16), Column(Both("题数", "Questions"), 9, number=True)
    return Table(Both("非拒答题方面", "Aspects"), columns, rows)


def samples(evidence: Evidence) -> Table:
    columns = (
        Column(Both("测试", "Test"), 18), Column(Both("题号", "Id"), 30), Column(Both("轮次", "Round"), 7),
        Column(Both("合格", "Passed"), 7), Column(Both("判定", "Verdict"), 12), Column(Both("问", "Question"), 60),
        Column(Both("答", "Answer"), 90),
    )  # fmt: skip
    rows = [
        (TESTS[one.test], one.item_id, one.round, YES_NO[one.passed], as_number(one.verdict), one.question, one.answer)
        for one in evidence.samples
    ]
    return Table(Both("抽样记录", "Samples"), columns, rows)


def questions(evidence: Evidence) -> Table:
    """Every answer of the run; each reviewer has a column."""
    reviewers = sorted({name for one in evidence.record for name in one.labels})
    columns = (
        Column(Both("题号", "Id"), 30), Column(Both("子维度", "Sub-dimension"), 24), Column(Both("轮次", "Round"), 7),
        Column(Both("遍次", "Epoch"), 7), Column(Both("题目哈希 SHA-256", "SHA-256 of the question"), 68),
        Column(Both("判定", "Verdict"), 12), *(Column(Both(f"人工：{name}", f"Person: {name}"), 14) for name in reviewers),
    )  # fmt: skip
    rows = [
        (
            one.item_id, one.sub_dimension, one.round, one.epoch, one.hash, as_number(one.verdict),
            *(as_number(one.labels.get(name)) for name in reviewers),
        )
        for one in evidence.record
    ]  # fmt: skip
    return Table(Both("逐题记录", "Record"), columns, rows)


def versions(summary: Summary, evidence: Evidence) -> Table:
    def rows() -> Iterator[tuple[Text, Value]]:
        yield Both("标准", "Standard"), evidence.standard
        yield Both("题库版本", "Bank version"), summary.bank.version
        yield Both("题库哈希", "Bank hash"), summary.bank.hash
        yield Both("裁判", "Judge"), summary.judge.id
        yield Both("裁判的键", "Judge key"), summary.judge.key
        yield Both("抽样种子", "Seed of the samples"), evidence.seed
        yield Both("被测模型", "Target"), summary.target
        yield Both("接口地址", "Endpoint"), summary.settings.base_url
        yield from summary.versions.items()

    columns = Column(Both("项目", "Item"), 24), Column(Both("值", "Value"), 80)
    return Table(Both("版本与哈希", "Versions and hashes"), columns, list(rows()))


def overview(summary: Summary, evidence: Evidence, standard: Standard) -> Table:
    declared = Both(NOT_A_CERTIFICATE.zh + CAUTION.zh, NOT_A_CERTIFICATE.en + CAUTION.en)
    rows: list[tuple[Value, ...]] = [
        (Both("材料", "Evidence"), title_of(summary, standard)),
        (Both("声明", "Declaration"), declared),
    ]
    rows += [(fact.name, _with_warning(fact)) for fact in facts(summary, evidence)]
    rows += [(Both(f"条款数：{name.zh}", f"Clauses: {name.en}"), n) for name, n in _counts(evidence)]
    columns = Column(Both("项目", "Item"), 20), Column(Both("内容", "Content"), 110)
    return Table(Both("概要", "Overview"), columns, rows)


def _with_warning(fact: Fact) -> Text:
    if fact.warning is None:
        return fact.text
    zh, en = fact.text if isinstance(fact.text, Both) else (fact.text, fact.text)
    return Both(f"{zh}；{fact.warning.zh}", f"{en}; {fact.warning.en}")


def _counts(evidence: Evidence) -> Iterator[tuple[Both, int]]:
    found = Counter(clause.finding for clause in evidence.clauses)
    return ((name, found[finding]) for finding, name in FINDINGS.items())


def as_number(verdict: str | None) -> Value:
    """A score as the number that it is; a label stays a word."""
    return int(verdict) if verdict in ("0", "1", "2") else verdict
