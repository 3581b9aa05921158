"""`compare`: two runs side by side, and gates for a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.console import table_console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from scsafety.report.comparison import Comparison
    from scsafety.report.suite_comparison import SuiteComparison

N_SHOWN = 10


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: scsafety compare last-release candidate --fail-on-regression")(compare)


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The run to compare with.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The run in question.")],
    fail_below: Annotated[
        float | None, typer.Option(metavar="X", help="Exit 3 when RUN_B scores below X on the common pairs.")
    ] = None,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit 3 when RUN_B is worse than chance allows.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Write everything as JSON.")] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write gates, boards and sub-dimensions as JUnit XML.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Is B safer than A, and where is it worse? Paired tests over the pairs that both answered.

    Two runs of one suite are compared metric by metric, over the items that both answered.

    Both must have been judged by the same judge. Worse means: overall, or in a dimension after Holm's correction, p < 0.05.
    """
    import msgspec

    from scsafety import api
    from scsafety.errors import ConfigError, GateError
    from scsafety.files import write_whole
    from scsafety.report.comparison import gates
    from scsafety.report.differences import comparison_lines
    from scsafety.report.junit import junit_xml
    from scsafety.report.visible import one_line

    if any(api.load_settings(run, out).suite is not None for run in (run_a, run_b)):
        if fail_below is not None or junit is not None:
            raise ConfigError(
                "--fail-below and --junit are of SC-Safety's score; a suite's runs take --fail-on-regression"
            )
        _of_suites(api.compare_suites(run_a, run_b, out), json_path, fail_on_regression=fail_on_regression)
        return
    found = api.compare(run_a, run_b, out)
    held = gates(found, fail_below=fail_below, fail_on_regression=fail_on_regression)
    if json_path is not None:
        write_whole(json_path, msgspec.json.format(msgspec.json.encode(found), indent=2))
    if junit is not None:
        write_whole(junit, junit_xml(found, held))
    for line in comparison_lines(found):
        typer.echo(one_line(line))
    table_console().print(render_differences(found))
    for line in _changed(found):
        typer.echo(one_line(line))
    for gate in held:
        if not gate.passed:
            raise GateError(gate.message)


def _of_suites(found: SuiteComparison, json_path: Path | None, *, fail_on_regression: bool) -> None:
    """Prints and writes; raises GateError."""
    import msgspec
    from rich.table import Table
    from rich.text import Text

    from scsafety.errors import GateError
    from scsafety.files import write_whole
    from scsafety.report.visible import one_line

    if json_path is not None:
        write_whole(json_path, msgspec.json.format(msgspec.json.encode(found), indent=2))
    typer.echo(one_line(f"A {found.run_a} · {found.target_a}    B {found.run_b} · {found.target_b}"))
    typer.echo(
        one_line(
            f"{found.suite} {found.variant}".rstrip() + f"：共同作答并评分 {found.n_units} 题（A 另有 {found.only_a}，"
            f"B 另有 {found.only_b}），评分 {found.judge_key}"
        )
    )
    for note in found.notes:
        typer.echo(one_line(f"注意：{note}"))
    table = Table(title=Text(one_line(f"{found.run_b} 减 {found.run_a}"), style="table.title"), title_justify="left")
    for column in ("", "A", "B", "差", "p", "p（Holm）", "升／降", "题数"):
        table.add_column(column, justify="right" if column else "left")
    for one in found.differences:
        numbers = ("-" if value is None else f"{value:.2f}" for value in (one.a, one.b))
        tests = ("-" if value is None else f"{value:.4f}" for value in (one.p, one.p_holm))
        apart = "-" if one.value is None else f"{one.value:+.2f}"
        moved = "-" if one.up is None else f"{one.up}／{one.down}"
        table.add_row(Text(one_line(f"{one.zh} {one.name}")), *numbers, apart, *tests, moved, str(one.n))
    table_console().print(table)
    if fail_on_regression and found.regression:
        worse = ", ".join(one.name for one in found.differences if one.worse)
        raise GateError(f"{found.run_b} is worse than {found.run_a}: {worse}")


def render_differences(found: Comparison) -> RenderableType:
    """Overall, by dimension and by sub-dimension."""
    from rich.table import Table
    from rich.text import Text

    from scsafety.report.differences import difference_rows
    from scsafety.report.visible import one_line

    table = Table(title=Text(one_line(f"{found.run_b} 减 {found.run_a}"), style="table.title"), title_justify="left")
    for column in ("", "差", "95% 区间", "p", "p（Holm）", "对数"):
        table.add_column(column, justify="right" if column else "left")
    overall, *rest = difference_rows(found)
    n_dimensions = len(found.differences.dimensions)
    for cells in (overall, *rest[:n_dimensions]):
        table.add_row(*cells)
    table.add_section()
    for cells in rest[n_dimensions:]:
        table.add_row(*cells)
    return table


def _changed(found: Comparison) -> Iterator[str]:
    for change, name in (("newly_unsafe", "B 新出现的风险"), ("newly_safe", "B 不再有的风险")):
        ids = [f"{one.pair_id}/{one.round}" for one in found.changed if one.change == change]
        more = f" 等 {len(ids)} 处，--json 列出全部与双方原文" if len(ids) > N_SHOWN else f"（{len(ids)} 处）"
        yield f"{name}：{'、'.join(ids[:N_SHOWN]) or '无'}{more if ids else ''}"
