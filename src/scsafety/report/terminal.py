"""The summary as a rich table. Chinese first; nothing of a model's output stands here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from scsafety import taxonomy
from scsafety.judge.measured import is_weak, on_real
from scsafety.report.lines import CALLS, ROLES, epochs_line, latency_line, limits_line, other_judge_line, retries_line
from scsafety.report.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from scsafety.report.suite import SuiteOf
    from scsafety.report.summary import ScoreOf, Summary

BAR_CELLS = 20


def render_summary(summary: Summary) -> RenderableType:
    """Completeness first, then the boards, then the 24 sub-dimensions; of a suite its own figures."""
    if summary.suite is not None:
        return _suite(summary, summary.suite)
    return Group(
        Text(one_line(f"{summary.run} · {summary.target}"), style="bold"),
        *(Text(one_line(fact)) for fact in facts(summary)),
        *_attack(summary),
        _boards(summary),
        _subs(summary),
    )


def _suite(summary: Summary, suite: SuiteOf) -> RenderableType:
    table = Table(title=f"{suite.title} {suite.variant}".strip(), title_justify="left")
    for name in ("", "值 value", "95% 区间", "n"):
        table.add_column(name, justify="left" if not name else "right")
    for cells in metric_rows(suite):
        table.add_row(*map(one_line, cells))
    return Group(
        Text(one_line(f"{summary.run} · {summary.target}"), style="bold"),
        *(Text(one_line(line)) for line in suite_facts(summary, suite)),
        *_attack(summary),
        table,
        *(Text(one_line(note)) for note in suite.notes),
    )


def suite_facts(summary: Summary, suite: SuiteOf) -> Iterator[str]:
    """The lines above a suite's figures."""
    unreadable = f"读不出 {suite.unreadable}（{suite.unreadable / max(suite.turns, 1):.0%}）"
    yield (
        f"{'完整' if summary.complete else '不完整'}：{suite.items} 项，{suite.turns} 个回答；未答 {suite.unanswered}，"
        f"未评 {suite.unjudged}，{unreadable}，平台拦截 {suite.blocked}"
    )
    yield from (f"没有问 {n} 项：{why}" for why, n in suite.left_out.items())
    yield f"评分 {summary.judge.id}（{summary.judge.key}）"


def metric_rows(suite: SuiteOf) -> Iterator[tuple[str, str, str, str]]:
    """A suite's figures: name, value, interval, n."""
    for metric in suite.metrics:
        value, unit, ci = metric["value"], "%" if metric["percent"] else "", metric["ci95"]
        yield (
            f"{metric['zh']} {metric['name']}",
            "-" if value is None else f"{value:.2f}{unit}",
            "-" if ci is None else f"{ci[0]:.1f} ~ {ci[1]:.1f}",
            str(metric["n"]),
        )


def facts(summary: Summary) -> Iterator[str]:
    """The lines that qualify the score, in the order in which they matter."""
    state = "完整" if summary.complete else "不完整"
    asked = f"× 2 轮 × {summary.settings.epochs} 遍 = {summary.bank.pairs * 2 * summary.settings.epochs} 个回答"
    if summary.attack is not None:
        rounds = summary.attack.limits.rounds
        asked = f"× {summary.settings.epochs} 遍，每次攻击至多 {rounds} 轮；总分的两轮取留下的首答与末答"
    yield (
        f"{state}：{summary.bank.pairs} 对 {asked}；"
        f"未答 {summary.unanswered}，未评 {summary.unjudged}，平台拦截 {_blocked(summary)}，触及长度上限 {summary.cut}"
        f"（{summary.cut / max(summary.answered, 1):.0%}）"
    )
    if (twins := summary.over_refusal) is not None and (twins.unanswered or twins.unjudged):
        yield f"无害问题：未答 {twins.unanswered}，未评 {twins.unjudged}"
    yield f"评分 {summary.judge.id}（{summary.judge.key}）{_agreement(summary.judge.agreement)}"
    if summary.judge.family:
        yield f"注意：裁判与被测模型同属 {summary.judge.family} 家族，对自家模型可能偏宽"
    if (members := summary.judge.members) is not None:
        decided = "，".join(f"{key.partition('@')[0]} {n}" for key, n in members.decided_by.items())
        yield f"合议：{members.n} 个评分，决定者 {decided}；成员意见不一 {members.disagreed}"
    yield from (other_judge_line(other).zh for other in summary.other_judges)
    if (people := summary.people) is not None:
        yield f"人工标注 {people.answers} 个回答（{'，'.join(f'{name} {n}' for name, n in people.annotators.items())}）"
        if (found := people.corrected) is not None:
            interval = f"95% 区间 {found.ci95[0]:.1f} ~ {found.ci95[1]:.1f}，标注 {found.n_labelled} 对"
            yield f"经人工校正的总分 {found.score:.2f}（{interval}）；只看裁判 {_number(summary.overall.score)}"
    if spread := epochs_line(summary.epochs):
        yield spread.zh
    if summary.overall.ci95 is None and summary.overall.score is not None:
        yield "每个子维度不足 3 对，不给置信区间"
    rates = [("不安全率", summary.unsafe_rate), ("失守率", summary.cave_rate)]
    if summary.over_refusal is not None:
        rates.append((f"过度拒绝率（{summary.over_refusal.n} 个无害问题）", summary.over_refusal.rate))
    yield "；".join(f"{name} {rate:.1%}" for name, rate in rates if rate is not None)
    for of in summary.endpoints:
        lines = [line.zh for line in (retries_line(of), latency_line(of)) if line]
        yield "，".join([f"{ROLES[of.role].zh} {of.endpoint}：{of.calls} 次调用", *lines])


def _attack(summary: Summary) -> Iterator[RenderableType]:
    """How many attacks succeeded, and in which round; nothing of a run that does not attack."""
    attack, limits = summary.attack, limits_line(summary.settings)
    if attack is None or limits is None:
        return
    interval = "" if attack.asr_ci95 is None else f"（95% 区间 {attack.asr_ci95[0]:.1%} ~ {attack.asr_ci95[1]:.1%}）"
    rate = "-" if attack.asr is None else f"{attack.asr:.1%}{interval}"
    lines = [
        f"攻击 {attack.strategy} v{attack.version}，攻击模型 {attack.attacker}：{attack.objectives} 个目标，"
        f"得手 {attack.successes}，成功率 {rate}；{limits.zh}",
        f"撤回 {attack.backtracks} 次；攻击模型拒绝或读不出 {attack.attacker_refused} 个（不计入）；未完 {attack.open}",
        "调用：" + "，".join(f"{CALLS[kind].zh} {n}" for kind, n in attack.calls.items()),
    ]
    if attack.rounds_to_success is not None:
        found = attack.rounds_to_success
        cost = "" if attack.cost_per_success is None else f"，费用 {attack.cost_per_success:.4f}"
        lines.append(
            f"得手所用轮数：平均 {found['mean']:.1f}，中位 {found['median']:g}；"
            f"每次得手 {attack.queries_per_success:.1f} 个回答{cost}"
        )
    if attack.unsafe.value is not None and summary.suite is None:
        lines.append(f"裁判在留下的回答里给过 0 分的目标：{attack.unsafe.hits}（{attack.unsafe.value:.1%}）")
    yield from (Text(one_line(line)) for line in lines)
    table = Table(title="守住的份额 survival", title_justify="left")
    for name in ("轮 round", "在场", "失守", "守住", "95% 区间"):
        table.add_column(name, justify="right")
    for at in attack.survival:
        known = at.lower is not None and at.upper is not None
        bounds = f"{at.lower:.1%} ~ {at.upper:.1%}" if known else "-"
        table.add_row(str(at.round), str(at.at_risk), str(at.broken), f"{at.survival:.1%}", bounds)
    yield table


def _agreement(measured: Mapping[str, Any] | None) -> str:
    """The judge's figures against people; on real answers where they were taken apart."""
    if not measured:
        return "：与人工标注的一致性尚未测定，分数只供冒烟测试"
    real = on_real(measured)
    recall = (real.get("unsafe") or {}).get("recall")
    figures = {"n": real.get("n"), "加权 kappa": real.get("qwk"), "不安全召回": recall}
    parts = [f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items() if v is not None]
    weak = "，一致性低，分数只供冒烟测试" if is_weak(measured) else ""
    return f"：与人工标注（{'真实回答' if real is not measured else '全部'}）{'，'.join(parts)}{weak}"


def _boards(summary: Summary) -> Table:
    table = Table(title="SC-Safety", title_justify="left")
    for name in ("", "得分 score", "95% 区间", "答数 n", "覆盖 coverage"):
        table.add_column(name, justify="left" if not name else "right")
    for cells in board_rows(summary):
        table.add_row(*cells)
    return table


def board_rows(summary: Summary) -> Iterator[tuple[str, str, str, str, str]]:
    """Overall, dimensions and rounds: name, score, interval, n, coverage."""
    rows = [("总分 overall", summary.overall), ("仅模型作答 model-written", summary.model_written)]
    names = {dimension.id: f"{dimension.zh} {dimension.en}" for dimension in taxonomy.dimensions()}
    rows += [(names[name], score) for name, score in summary.dimensions.items()]
    rows += [(f"第 {name} 轮 round {name}", summary.rounds[name]) for name in ("1", "2")]
    rows += [("第二轮减第一轮 gap", summary.rounds["gap"])]
    for label, score in rows:
        yield label, _number(score.score), _interval(score), str(score.n), f"{score.coverage:.0%}"


def _subs(summary: Summary) -> Table:
    table = Table(title="24 个子维度 sub-dimensions", title_justify="left")
    for name in ("", "得分", "", "答数"):
        table.add_column(name, justify="right" if name else "left")
    for score, (label, number, n) in zip(summary.sub_dimensions.values(), sub_rows(summary), strict=True):
        filled = round((score.score or 0) / 100 * BAR_CELLS)
        table.add_row(label, number, "█" * filled + "░" * (BAR_CELLS - filled), n)
    return table


def sub_rows(summary: Summary) -> Iterator[tuple[str, str, str]]:
    """The sub-dimensions: name, score, n."""
    for name, score in summary.sub_dimensions.items():
        yield f"{taxonomy.sub_dimension(name).zh} {name}", _number(score.score), str(score.n)


def _blocked(summary: Summary) -> int:
    return summary.blocked.input + summary.blocked.output + summary.blocked.unknown


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(score: ScoreOf) -> str:
    return "-" if score.ci95 is None else f"{score.ci95[0]:.1f} ~ {score.ci95[1]:.1f}"
