"""Charts for papers and slides: SVG, PNG and the numbers behind each as CSV. Needs matplotlib, the extra `charts`.

An SVG keeps its text as text, in the first of `FAMILIES` that the reader's machine has; a PNG needs one of them here.
"""

from __future__ import annotations

import csv
import io
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from scsafety import taxonomy
from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.report.escape import one_line
from scsafety.report.export import cell
from scsafety.report.leaderboard import basis_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scsafety.metrics.interval import Interval
    from scsafety.report.summary import Summary

FOLDER = "charts"  # of a site
FAMILIES = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei", "Noto Sans CJK JP", "Heiti SC", "Arial Unicode MS",
)  # fmt: skip
NAME_CHARS = 40
DPI = 200
BLUE, PALE, INK, GRID = "#1f5fbf", "#8fb4e6", "#1b2330", "#dde2ea"

Row = dict[str, Any]


class Chart(NamedTuple):
    """One chart: the name of its files, its numbers, and which picture they make."""

    name: str
    kind: str  # a key of DRAW
    rows: list[Row]


def charts_of(summaries: Mapping[str, Summary]) -> list[Chart]:
    """Every chart that these runs, by folder name, have numbers for; runs of several tables are never in one. Pure."""
    runs = [(name, of) for name, of in summaries.items() if of.overall.score is not None]
    runs.sort(key=lambda one: (-(one[1].overall.score or 0), one[0]))
    tables = list(dict.fromkeys(basis_of(of) for of in summaries.values()))
    charts = []
    for n, basis in enumerate(tables, start=1):
        alike = [run for run in runs if basis_of(run[1]) == basis]  # others' scores cannot be compared with theirs
        end = f"-{n}" if len(tables) > 1 else ""
        charts.append(Chart(f"totals{end}", "totals", [_total(*run) for run in alike]))
        rows = [row for run in alike for row in _over_refusal(*run)]
        charts.append(Chart(f"over-refusal{end}", "over_refusal", rows))
    charts += [Chart(f"profile-{name}", "profile", list(_profile(of))) for name, of in runs]
    return [chart for chart in charts if chart.rows]


def write_charts(summaries: Mapping[str, Summary], folder: Path) -> list[Path]:
    """Write each chart as NAME.svg, NAME.png and NAME.csv. Raises ConfigError without matplotlib or a Chinese font, and
    MachineError.
    """
    font = chinese_font()
    paths = []
    for chart in charts_of(summaries):
        files = {"svg": svg(chart, font), "png": png(chart, font), "csv": as_csv(chart)}
        for ending, data in files.items():
            write_whole(folder / f"{chart.name}.{ending}", data)
            paths.append(folder / f"{chart.name}.{ending}")
    return paths


def chinese_font() -> str:
    """The first of `FAMILIES` that is installed. Raises ConfigError."""
    try:
        from matplotlib import font_manager, get_cachedir
    except ImportError as error:
        raise ConfigError("--charts needs matplotlib: pip install 'scsafety[charts]'") from error
    installed = {font.name for font in font_manager.fontManager.ttflist}
    found = next((name for name in FAMILIES if name in installed), None)
    if found is None:
        raise ConfigError(
            "--charts found no font with Chinese characters; install one, like Debian's fonts-noto-cjk or Fedora's "
            "google-noto-sans-cjk-fonts, then delete matplotlib's font list in "
            f"{get_cachedir()}"
        )
    return found


def as_csv(chart: Chart) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(chart.rows[0]))
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in chart.rows)
    return text.getvalue().encode("utf-8-sig")


def svg(chart: Chart, font: str) -> bytes:
    others = [name for name in FAMILIES if name != font]
    with _style([font, *others, "DejaVu Sans", "sans-serif"]):
        return _saved(DRAW[chart.kind](chart), "svg", metadata={"Date": None})


def png(chart: Chart, font: str) -> bytes:
    with _style([font, "DejaVu Sans"]):
        return _saved(DRAW[chart.kind](chart), "png", dpi=DPI)


@contextmanager
def _style(families: list[str]) -> Iterator[None]:
    from matplotlib import rc_context

    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # it would name each family of the list that is not here
    try:
        with rc_context({
            "font.family": families, "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "scsafety",
            "axes.unicode_minus": True, "text.parse_math": False, "text.usetex": False, "axes.edgecolor": INK,
        }):  # fmt: skip
            yield
    finally:
        log.setLevel(level)


def _saved(figure: Figure, format: str, **given: Any) -> bytes:  # noqa: A002 (matplotlib's name)
    file = io.BytesIO()
    figure.savefig(file, format=format, **given)
    return file.getvalue()


# Numbers


def _total(name: str, of: Summary) -> Row:
    low, high = of.overall.ci95 or (None, None)
    return {
        "run": name,
        "target": of.target,
        "total": of.overall.score,
        "total_low": low,
        "total_high": high,
        "n": of.overall.n,
        "complete": of.complete,
    }


def _over_refusal(name: str, of: Summary) -> Iterator[Row]:
    twins = of.over_refusal
    if twins and twins.rate is not None:
        low, high = twins.ci95 or (None, None)
        bounds = {"over_refusal_low": low, "over_refusal_high": high}
        yield {**_total(name, of), "over_refusal": twins.rate, **bounds, "n_twins": twins.n}


def _profile(of: Summary) -> Iterator[Row]:
    for sub in taxonomy.sub_dimensions():
        score = of.sub_dimensions.get(sub.id)
        if score is None or score.score is None:
            continue
        low, high = score.ci95 or (None, None)
        first, second = of.sub_dimension_rounds.get(sub.id, (None, None))
        yield {
            "sub_dimension": sub.id,
            "zh": sub.zh,
            "en": sub.en,
            "dimension": sub.dimension,
            "score": score.score,
            "score_low": low,
            "score_high": high,
            "round_1": first,
            "round_2": second,
            "n": score.n,
            "target": of.target,
        }


# Pictures


def _draw_totals(chart: Chart) -> Figure:
    figure, axes = _figure(1.3 + 0.32 * len(chart.rows))
    for k, row in enumerate(chart.rows):
        _point(axes, (row["total"], k), x=_bounds(row, "total"), filled=row["complete"])
    _rows(axes, _labels(chart.rows))
    axes.set_xlabel("总分与 95% 区间 total with 95% interval，0–100")
    return figure


def _draw_over_refusal(chart: Chart) -> Figure:
    figure, axes = _figure(4.6)
    for row, label in zip(chart.rows, _labels(chart.rows), strict=True):
        x, y = 100 * row["over_refusal"], row["total"]
        across = _bounds(row, "over_refusal")
        _point(
            axes,
            (x, y),
            x=(100 * across[0], 100 * across[1]) if across else None,
            y=_bounds(row, "total"),
            filled=row["complete"],
        )
        axes.annotate(label, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("过度拒绝率 over-refusal (%)")
    axes.set_ylabel("总分 total")
    axes.grid(color=GRID)
    axes.margins(x=0.15)
    axes.set_xlim(left=max(axes.get_xlim()[0], -1))
    return figure


def _draw_profile(chart: Chart) -> Figure:
    figure, axes = _figure(1.6 + 0.27 * len(chart.rows))
    for k, row in enumerate(chart.rows):
        axes.barh(k, row["score"], height=0.62, color=PALE)
        bounds = _bounds(row, "score")
        if bounds:
            axes.hlines(k, *bounds, color=INK, linewidth=1.2)
        for name, mark in (("round_1", "o"), ("round_2", "D")):
            if row[name] is not None:
                axes.plot(row[name], k, mark, color=BLUE, markersize=4, fillstyle="full" if mark == "D" else "none")
    _rows(axes, [f"{row['zh']} {row['en']}" for row in chart.rows])
    axes.set_xlim(0, 100)
    axes.set_title(_short(chart.rows[0]["target"]), fontsize=10)
    axes.set_xlabel(
        "得分 score，0–100；○ 第一轮 round 1，◆ 第二轮 round 2\n线为 95% 区间 line: 95% interval", fontsize=8
    )
    return figure


DRAW = {"totals": _draw_totals, "over_refusal": _draw_over_refusal, "profile": _draw_profile}


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID)


def _point(axes: Axes, at: tuple[float, float], *, x: Interval = None, y: Interval = None, filled: bool = True) -> None:
    """A dot with its intervals; hollow where the run is not complete."""
    if x:
        axes.hlines(at[1], *x, color=PALE, linewidth=1.6)
    if y:
        axes.vlines(at[0], *y, color=PALE, linewidth=1.6)
    axes.plot(*at, "o", color=BLUE, markerfacecolor=BLUE if filled else "white", markersize=5)


def _bounds(row: Row, name: str) -> Interval:
    return None if row[f"{name}_low"] is None else (row[f"{name}_low"], row[f"{name}_high"])


def _labels(rows: Sequence[Row]) -> list[str]:
    """The target, and its run where one target has several."""
    targets = [row["target"] for row in rows]
    return [
        _short(row["target"] if targets.count(row["target"]) == 1 else f"{row['run']}: {row['target']}") for row in rows
    ]


def _short(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= NAME_CHARS else f"{shown[: NAME_CHARS - 1]}…"
