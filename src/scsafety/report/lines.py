"""Lines that terminal and page both show, in Chinese and in English."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.engine.settings import RunSettings
    from scsafety.report.endpoints import EndpointOf
    from scsafety.report.summary import EpochsOf, OtherJudgeOf


class Both(NamedTuple):
    """One text in both languages."""

    zh: str
    en: str


ROLES = {
    "target": Both("被测模型", "Target"),
    "attacker": Both("攻击模型", "Attacker"),
    "judge": Both("裁判", "Judge"),
}
CALLS = {  # of an attack
    "target": Both("被测模型", "target"),
    "question": Both("写提问", "question"),
    "refusal": Both("判拒答", "refusal judge"),
    "success": Both("判得手", "success judge"),
    "scenario": Both("写情境", "scenario"),
    "verdict": Both("判态度", "evaluator"),
}
ENDS = {
    "success": Both("得手", "success"),
    "rounds": Both("轮数用完", "rounds used up"),
    "refusal": Both("轮数用完，末答仍是拒绝", "rounds used up, refusing to the last"),
    "attacker_refused": Both("攻击模型拒绝", "attacker refused"),
    "attacker_unreadable": Both("攻击模型的话读不出", "attacker could not be read"),
    "judge_unreadable": Both("攻击模型的裁判读不出", "the attack's judge could not be read"),
}
SIDES = {
    "input": Both("输入侧", "input side"),
    "output": Both("输出侧", "output side"),
    "unknown": Both("不明", "side unknown"),
}


def counted(n: int, noun: str) -> str:
    """A number and its noun, in English.

    >>> counted(1, "pair"), counted(2456, "pair")
    ('1 pair', '2,456 pairs')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def latin(name: str) -> str:
    """A family's name for English pages: what stands before its Chinese one.

    >>> latin("Qwen 通义千问"), latin("GPT")
    ('Qwen', 'GPT')
    """
    return name.partition(" ")[0]


def limits_line(settings: RunSettings) -> Both | None:
    """The limits of an attack, those that its strategy has; None: the run is not adaptive."""
    limits = settings.attack
    if limits is None:
        return None
    backtracks = Both(f"撤回至多 {limits.backtracks} 次", f"at most {counted(limits.backtracks, 'backtrack')}")
    if limits.fresh:
        return Both(f"每问都是新对话，{backtracks.zh}", f"each question a conversation of its own, {backtracks.en}")
    return Both(
        f"至多 {limits.rounds} 轮，{backtracks.zh}，阈值 {limits.threshold:g}",
        f"at most {counted(limits.rounds, 'round')}, {backtracks.en}, threshold {limits.threshold:g}",
    )


def epochs_line(epochs: EpochsOf) -> Both | None:
    """The score of each epoch and how far they lie apart; None for one epoch."""
    if len(epochs.scores) < 2:
        return None
    of_each = [
        ("-" if score is None else f"{score:.2f}", coverage)
        for score, coverage in zip(epochs.scores, epochs.coverage, strict=True)
    ]
    zh = "、".join(score + (f"（覆盖 {coverage:.0%}）" if coverage < 1 else "") for score, coverage in of_each)
    en = ", ".join(score + (f" (coverage {coverage:.0%})" if coverage < 1 else "") for score, coverage in of_each)
    sd = Both("", "")
    if epochs.sd is not None:
        sd = Both(f"；各遍之间的标准差 {epochs.sd:.2f}", f"; standard deviation between epochs {epochs.sd:.2f}")
    return Both(f"各遍总分 {zh}{sd.zh}", f"Overall score of each epoch {en}{sd.en}")


def other_judge_line(of: OtherJudgeOf) -> Both:
    """What another judge comes to, over the answers that it judged."""
    zh, en = f"另一裁判 {of.key}：总分 {of.overall:.2f}", f"Another judge, {of.key}: overall score {of.overall:.2f}"
    if of.qwk is not None:
        zh, en = f"{zh}，与上面的裁判加权 kappa {of.qwk:.2f}", f"{en}, weighted kappa with the one above {of.qwk:.2f}"
    if not of.complete:
        zh, en = f"{zh}；没有评完，总分不可比", f"{en}; it has not judged all, so the totals do not compare"
    return Both(zh, en)


def endpoint_lines(of: EndpointOf) -> Iterator[Both]:
    """All that the summary has of an endpoint, but its name."""
    calls, retries = Both(f"{of.calls:,} 次调用", counted(of.calls, "call")), retries_line(of)
    yield Both(f"{calls.zh}，{retries.zh}", f"{calls.en}, {retries.en}") if retries else calls
    outcomes = _listed({Both(name, name): n for name, n in of.outcomes.items()})
    yield Both(f"结果 {outcomes.zh}", f"Outcomes: {outcomes.en}")
    if of.blocked:
        codes = _listed(
            {
                Both(
                    f"{SIDES[one.side].zh} {one.code or '代码不明'}", f"{SIDES[one.side].en} {one.code or 'no code'}"
                ): one.n
                for one in of.blocked
            }
        )
        yield Both(f"拦截 {codes.zh}", f"Blocked: {codes.en}")
    if latency := latency_line(of):
        yield latency


def retries_line(of: EndpointOf) -> Both | None:
    """None where nothing was tried again."""
    if not of.retries:
        return None
    unknown = of.retries - sum(of.retried.values())
    causes = {Both(cause, cause): n for cause, n in of.retried.items()}
    listed = _listed({**causes, **({Both("原因不明", "cause unknown"): unknown} if unknown else {})})
    return Both(f"重试 {of.retries:,}（{listed.zh}）", f"retries {of.retries:,} ({listed.en})")


def latency_line(of: EndpointOf) -> Both | None:
    """None where nothing was answered."""
    if (found := of.latency_s) is None:
        return None
    quantiles = [f"p50 {found.p50:.2f}", f"p90 {found.p90:.2f}", f"p99 {found.p99:.2f}"]
    return Both(
        f"延迟 {'、'.join(quantiles)}、最长 {found.max:.2f} 秒",
        f"Latency {', '.join(quantiles)}, longest {found.max:.2f} s",
    )


def _listed(counts: dict[Both, int]) -> Both:
    return Both(
        "、".join(f"{name.zh} {n:,}" for name, n in counts.items()),
        ", ".join(f"{name.en} {n:,}" for name, n in counts.items()),
    )
