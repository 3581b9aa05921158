"""Lines that terminal and page both show, in Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.report.endpoints import EndpointOf
    from scsafety.report.summary import EpochsOf

ROLES = {"target": "受测模型", "attacker": "攻击模型", "judge": "评分者"}
SIDES = {"input": "输入侧", "output": "输出侧", "unknown": "不明"}


def epochs_line(epochs: EpochsOf) -> str:
    """The score of each epoch and how far they lie apart; empty for one epoch."""
    if len(epochs.scores) < 2:
        return ""
    of_each = [
        ("-" if score is None else f"{score:.2f}") + (f"（覆盖 {coverage:.0%}）" if coverage < 1 else "")
        for score, coverage in zip(epochs.scores, epochs.coverage, strict=True)
    ]
    sd = "" if epochs.sd is None else f"；各遍之间的标准差 {epochs.sd:.2f}"
    return f"各遍总分 {'、'.join(of_each)}{sd}"


def endpoint_lines(of: EndpointOf) -> Iterator[str]:
    """All that the summary has of an endpoint, but its name."""
    yield f"{of.calls:,} 次调用" + (f"，{retries_line(of)}" if of.retries else "")
    yield f"结果 {_counted(of.outcomes)}"
    if of.blocked:
        codes = {f"{SIDES[one.side]} {one.code or '代码不明'}": one.n for one in of.blocked}
        yield f"拦截 {_counted(codes)}"
    if of.latency_s is not None:
        yield latency_line(of)


def retries_line(of: EndpointOf) -> str:
    """Empty where nothing was tried again."""
    unknown = of.retries - sum(of.retried.values())
    causes = {**of.retried, **({"原因不明": unknown} if unknown else {})}
    return f"重试 {of.retries:,}（{_counted(causes)}）" if of.retries else ""


def latency_line(of: EndpointOf) -> str:
    """Empty where nothing was answered."""
    if (found := of.latency_s) is None:
        return ""
    return f"延迟 p50 {found.p50:.2f}、p90 {found.p90:.2f}、p99 {found.p99:.2f}、最长 {found.max:.2f} 秒"


def _counted(counts: dict[str, int]) -> str:
    return "、".join(f"{name} {n:,}" for name, n in counts.items())
