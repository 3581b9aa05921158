"""A comparison in lines and rows, for the terminal and for a notebook's cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety import taxonomy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.report.comparison import Comparison


def comparison_lines(found: Comparison) -> Iterator[str]:
    """What stands above the table of differences."""
    yield f"A {found.run_a} · {found.target_a} {found.score_a:.2f}    B {found.run_b} · {found.target_b} {found.score_b:.2f}"
    yield f"共同作答并评分 {found.n_pairs} 对（A 另有 {found.only_a}，B 另有 {found.only_b}），评分 {found.judge_key}"
    if found.differences.detectable is not None:
        yield f"这么多对题，约 {found.differences.detectable:.1f} 分以上的差才有八成把握测出"
    a, b = found.over_refusal["a"], found.over_refusal["b"]
    if a is not None and b is not None:
        yield f"过度拒绝率 A {a:.1%}，B {b:.1%}"
    if (zeros := found.zeros) is not None:
        p = "-" if zeros.p is None else f"{zeros.p:.4f}"
        interval = "" if zeros.ci95 is None else f"（95% 区间 {zeros.ci95[0]:+.1%} ~ {zeros.ci95[1]:+.1%}）"
        yield (
            f"任一回答得 0 分的对：A {zeros.a:.1%}，B {zeros.b:.1%}，差 {zeros.difference:+.1%}{interval}，p {p}，{zeros.n} 对；"
            f"两边都有 {zeros.both}，只在 A {zeros.only_a}，只在 B {zeros.only_b}，都没有 {zeros.neither}"
        )
    yield from (f"注意：{note}" for note in found.notes)


def difference_rows(found: Comparison) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Overall, by dimension, by sub-dimension: name, difference, interval, p, p after Holm, pairs."""
    names = {one.id: one.zh for one in taxonomy.dimensions()}
    names |= {one.id: f"{one.zh} {one.id}" for one in taxonomy.sub_dimensions()}
    apart = found.differences
    for name, one in (("总分 overall", apart.overall), *apart.dimensions.items(), *apart.sub_dimensions.items()):
        interval = "-" if one.ci95 is None else f"{one.ci95[0]:+.1f} ~ {one.ci95[1]:+.1f}"
        p, corrected = ("-" if value is None else f"{value:.4f}" for value in (one.p, one.p_holm))
        yield names.get(name, name), f"{one.value:+.2f}", interval, p, corrected, str(one.n)
