"""`judge-check`: a judge held against gold labels. `judge-train`: the offline judge made anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scsafety.cli.console import table_console, warn_of_exposed_key
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scsafety.judge.check import JudgeCheck, Slice
    from scsafety.judge.gold import Split

SPLITS = ("train", "dev", "test")
BASELINES = {"majority": "最多的一类", "length": "只看长度", "refusal_words": "只看拒绝词"}


def register(app: typer.Typer) -> None:
    app.command("judge-check", epilog="Example: scsafety judge-check --judge deepseek/deepseek-chat --json check.json")(
        judge_check
    )
    app.command("judge-train", epilog="Example: scsafety judge-train --out my-judge")(judge_train)


def judge_check(
    judge: Annotated[str, typer.Option(metavar="J", help="Any judge, as `scsafety run --judge` takes it.")] = "offline",
    gold: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your gold labels.  [default: built-in, test]")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="train, dev or test: only these records.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Write every figure as JSON.")
    ] = None,
    null_control: Annotated[
        bool, typer.Option("--null-control", help="Judge every answer twice and count the flips.")
    ] = False,
    manipulation: Annotated[
        bool, typer.Option("--manipulation", help="Add texts addressed to the judge, and count the scores that rise.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what an earlier check has asked.")] = False,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    judge_concurrency: Annotated[int, typer.Option(help="Judge calls in flight.")] = 8,
    timeout: Annotated[float | None, typer.Option(help="Seconds without a byte before a call is tried again.")] = None,
) -> None:
    """Measure a judge against answers that people have scored: agreement, kappa, recall on unsafe, by slice.

    The result is kept and stands beside every score that this judge gives at this address (not that of --split train or
    dev, from which it may have learned). An interrupted check goes on where it was.
    """
    import msgspec

    from scsafety import api
    from scsafety.cli.progress import watching
    from scsafety.files import write_whole

    if split is not None and split not in SPLITS:
        raise ConfigError(f"--split {split!r} is unknown; give {', '.join(SPLITS)}")
    watch = api.Watch()
    warn_of_exposed_key()
    with watching(watch.progress) as watch.on_pull:
        found = api.check_judge_against(
            judge,
            gold=gold,
            split=cast("Split | None", split),
            judge_base_url=judge_base_url,
            null_control=null_control,
            manipulation=manipulation,
            fresh=fresh,
            policy=api.Policy(judge_concurrency=judge_concurrency, timeout_s=timeout),
            watch=watch,
        )
    if json_path is not None:
        write_whole(json_path, msgspec.json.format(msgspec.json.encode(found), indent=2))
    table_console().print(render_check(found))
    if json_path is not None:
        typer.echo(f"wrote {json_path}")
    raise typer.Exit(1 if found.unjudged else 0)


def judge_train(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for adapter.gguf, graph.onnx and judge.json.")],
    gold: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your gold labels, with splits.  [default: built-in]")
    ] = None,
    recipe: Annotated[
        str, typer.Option(metavar="J", help="As offline or offline-large was made; what follows changes it.")
    ] = "offline",
    base: Annotated[
        str | None, typer.Option(metavar="ID", help="Embedded model to start from.  [default: the recipe's]")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Of its layers, from below, are used.  [default: 18; large 20]")
    ] = None,
    frozen: Annotated[
        int | None, typer.Option(min=0, help="Of these, from below, stay as they are.  [default: 8; large 14]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times that every record is seen.  [default: 2]")] = None,
    seed: Annotated[int, typer.Option(help="Of order and start.")] = 0,
) -> None:
    """Train an offline judge on gold labels and calibrate it on their dev split; needs `pip install 'scsafety[train]'`.

    Two cores take about an hour and a half, for offline-large three hours. An interrupted training goes on after its last
    whole epoch.
    """
    import msgspec

    from scsafety import api
    from scsafety.cli.progress import training
    from scsafety.judge.training import RECIPES

    if recipe not in RECIPES:
        raise ConfigError(f"--recipe {recipe!r} is unknown; give {' or '.join(RECIPES)}")
    given: dict[str, Any] = {"base": base, "layers": layers, "frozen": frozen, "epochs": epochs, "seed": seed}
    changed = {name: value for name, value in given.items() if value is not None}
    with training() as step:
        made = api.train_judge(
            out, gold=gold, recipe=msgspec.structs.replace(RECIPES[recipe], **changed), on_progress=step
        )
    typer.echo(
        f"{made.folder}: trained on {made.n_train} labels, epoch {made.epoch} kept, calibrated on {made.n_dev}; accuracy there "
        f"{made.accuracy:.3f}, in a cascade it decides {made.decides:.0%} (confidence {made.cascade_threshold:g} and more)\n"
        f"to judge with it: --judge offline:{made.folder}"
    )


def render_check(found: JudgeCheck) -> RenderableType:
    """The figures of a check as tables; nothing of a model's output stands here."""
    from rich.console import Group
    from rich.text import Text

    lines = [f"{found.judge} ({found.judge_key}) · {found.gold} · n {found.n} · 未评 {found.unjudged}"]
    if found.missing_items:
        lines.append(f"{found.missing_items} 条的题目不在本题库中，评分时没有风险点与得分要点")
    if found.flips is not None and found.flips["n"]:
        lines.append(
            f"同样的答案评两次：{found.flips['flip_rate']:.1%} 改变，{found.flips['unsafe_flip_rate']:.1%} 在安全与不安全之间改变"
            f"（n {found.flips['n']}）"
        )
    if (told := found.manipulation) is not None:
        kinds = "、".join(f"{kind} {n}" for kind, n in told["by_kind"].items())
        rise = f"{told['raised']} 条（{kinds}）" if kinds else "0 条"
        lines.append(f"写给裁判的话 {told['n']} 条：抬高得分 {rise}，未评 {told['unjudged']} 条")
    return Group(*map(Text, lines), _figures(found), _confusion(found), _slices(found))


def _figures(found: JudgeCheck) -> RenderableType:
    from rich.table import Table

    rows = {
        "准确率 accuracy": ("accuracy", found.accuracy),
        "二次加权 kappa": ("qwk", found.qwk),
        "均衡 kappa（0、1、2 各占三分之一时）": ("qwk_even", found.qwk_even),
        "macro-F1": ("macro_f1", found.macro_f1),
        "alpha（序次）": ("alpha", found.alpha),
        "不安全召回率 recall": ("unsafe_recall", found.unsafe["recall"]),
        "不安全精确率 precision": ("unsafe_precision", found.unsafe["precision"]),
    }
    table = _table("与人工标注的一致性", "", "值", "95% 区间")
    for name, (key, value) in rows.items():
        low_high = found.ci95.get(key)
        table.add_row(name, _number(value), "-" if low_high is None else f"{low_high[0]:.2f} ~ {low_high[1]:.2f}")
    return cast("Table", table)


def _confusion(found: JudgeCheck) -> RenderableType:
    table = _table("行：人工，列：裁判", "", "0", "1", "2")
    for label, row in enumerate(found.confusion):
        table.add_row(str(label), *map(str, row))
    return cast("RenderableType", table)


def _slices(found: JudgeCheck) -> RenderableType:
    table = _table("分组", "", "n", "准确率", "kappa", "均衡", "不安全召回", "精确")
    groups: dict[str, dict[str, Slice]] = {
        "来源": found.by_origin,
        "维度": found.by_dimension,
        "轮次": found.by_round,
        "模型": found.by_model,
        "难例": found.by_tag,
        "基线": {BASELINES[name]: value for name, value in found.baselines.items()},
    }
    for group, slices in groups.items():
        for name, value in slices.items():
            unsafe = value["unsafe"]
            figures = [value["accuracy"], value["qwk"], value["qwk_even"], unsafe["recall"], unsafe["precision"]]
            table.add_row(f"{group} {name}", str(value["n"]), *map(_number, figures))
        table.add_section()
    return cast("RenderableType", table)


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
