"""The pages beside the runs' own: a leaderboard with its data, and the published leaderboard as reference.

Same safety as `page`: what a model's name or a system prompt says can only be read.
"""

from __future__ import annotations

import difflib
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety import taxonomy
from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.judge.measured import WEAK_KAPPA
from scsafety.metrics.agreement import MIN_CLUSTERS
from scsafety.metrics.corrected import MIN_LABELLED
from scsafety.metrics.interval import MIN_PAIRS, MIN_PAIRS_OF_ONE
from scsafety.metrics.paired import POWER
from scsafety.metrics.permutation import PERMUTATIONS
from scsafety.report import figures, side_by_side
from scsafety.report.chart import chart_of
from scsafety.report.facts import LICENCES, ORIGINS, SIZES, Licence, ModelFacts, Origin
from scsafety.report.findings import Findings, Scored, findings_of
from scsafety.report.html import content_policy, environment, source
from scsafety.report.lazy import json_text
from scsafety.report.leaderboard import RULE, RULE_EN, as_csv, as_json, tables_of, unlike
from scsafety.report.lines import Both
from scsafety.report.page import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from scsafety.report.leaderboard import Standing, Table

INDEX, REFERENCE, CSV, JSON = "index.html", "reference.html", "leaderboard.csv", "leaderboard.json"
COMPARE, METHOD = "compare.html", "method.html"
_NAMES: dict[str, Any] = {"licences": LICENCES, "origins": ORIGINS, "sizes": SIZES}
BASIS = {
    "bank_hash": Both("题库", "bank"),
    "judge_key": Both("裁判", "judge"),
    "selection_hash": Both("选题", "selection"),
    "strategy": Both("追问策略", "strategy"),
}


class PublishedRow(msgspec.Struct, frozen=True):
    """A model's published figures, 0 to 100."""

    overall: float
    traditional: float
    responsible: float
    attack: float
    round_1: float
    round_2: float
    vendor: str
    licence: Licence
    origin: Origin
    size_b: float | None = None

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(vendor=self.vendor, licence=self.licence, origin=self.origin, size_b=self.size_b)


class Published(msgspec.Struct, frozen=True):
    """The leaderboard that SC-Safety's authors published, as they published it."""

    source: str
    models: dict[str, PublishedRow]


def published() -> Published:
    data = (resources.files("scsafety.report") / "data" / "published.json").read_bytes()
    return msgspec.json.decode(data, type=Published)


def refuse_namesakes(folders: Iterable[Path]) -> None:
    """Raises ConfigError where two runs would be written to one folder, or one over a page of the site."""
    seen: dict[str, Path] = {}
    for folder in folders:
        if (other := seen.setdefault(folder.name, folder)) != folder:
            raise ConfigError(
                f"{other} and {folder}: two runs of one name would share a page; rename one folder, or give them two --out"
            )
        if folder.name in (INDEX, REFERENCE, CSV, JSON, COMPARE, METHOD, side_by_side.FOLDER, figures.FOLDER):
            raise ConfigError(f"{folder}: the site has a file of that name; rename the run's folder")


def write_site(
    standings: Sequence[Standing], folder: Path, ghosts: Mapping[str, PublishedRow] | None = None
) -> list[Path]:
    """Write leaderboard, its data and the pages beside it into `folder`; returns their paths. Raises MachineError."""
    tables = tables_of(standings)
    compare, beside = render_compare(tables)
    files = {
        INDEX: render_leaderboard(tables, ghosts).encode(),
        REFERENCE: render_reference(published()).encode(),
        CSV: as_csv(tables),
        JSON: as_json(tables),
        COMPARE: compare.encode(),
        METHOD: render_method().encode(),
        **beside,
    }
    for name, data in files.items():
        write_whole(folder / name, data)
    return [folder / name for name in files if name not in beside]


def render_leaderboard(tables: Sequence[Table], ghosts: Mapping[str, PublishedRow] | None = None) -> str:
    """The leaderboard as text. Pure: the same runs give the same page. ghosts: published rows that stand below, apart."""
    return _render(
        "leaderboard.html.j2",
        tables=tables,
        charts=[chart_of(table.rows) for table in tables],
        unlike=[BASIS[name] for name in unlike(tables)],
        rule=RULE,
        rule_en=RULE_EN,
        settings=SETTINGS,
        ghosts=ghosts,
        findings=[_of_table(table) for table in tables],
        **_NAMES,
    )


def render_reference(facts: Published) -> str:
    scored = [Scored(name, row.overall, row.facts) for name, row in facts.models.items()]
    return _render("reference.html.j2", facts=facts, found=findings_of(scored), **_NAMES)


def known_ghosts(names: Sequence[str]) -> dict[str, PublishedRow]:
    """Published rows by name. Raises ConfigError."""
    models = published().models
    for name in names:
        if name not in models:
            near = difflib.get_close_matches(name, models, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(models)}"
            raise ConfigError(f"--ghost {name!r}: not on the published leaderboard; {hint}")
    return {name: models[name] for name in names}


def _of_table(table: Table) -> Findings:
    """Each model once: its best-placed run."""
    scored: dict[str, Scored] = {}
    for row in table.ranked:
        total = row.summary.overall.score
        if total is not None:
            scored.setdefault(row.summary.target, Scored(row.summary.target, total, row.facts))
    return findings_of(list(scored.values()))


def render_compare(tables: Sequence[Table]) -> tuple[str, dict[str, bytes]]:
    """The page of comparisons, and the files that it loads when they are asked for, by their path."""
    data, files = side_by_side.page_data(tables)
    n_comparisons = sum(len(table.versus) for table in tables)
    return _render("compare.html.j2", "compare", data=json_text(data), n_comparisons=n_comparisons), files


def render_method() -> str:
    return _render(
        "method.html.j2",
        subs=taxonomy.sub_dimensions(),
        min_pairs=MIN_PAIRS,
        min_pairs_of_one=MIN_PAIRS_OF_ONE,
        permutations=PERMUTATIONS,
        power=POWER,
        weak_kappa=WEAK_KAPPA,
        min_clusters=MIN_CLUSTERS,
        min_labelled=MIN_LABELLED,
    )


def _render(template: str, own: str | None = None, **values: object) -> str:
    """`own`: the name of a style and a script of this page alone, which may load its data from beside it."""
    style = source("page.css") + source("site.css")
    script = source("lang.js") + source("site.js")
    if own is not None:
        style, script = style + source(f"{own}.css"), script + source(f"{own}.js")
    return (
        environment()
        .get_template(template)
        .render(
            **values,
            style=style,
            script=script,
            policy=content_policy(style, script, loads=own is not None),
            dimensions=taxonomy.dimensions(),
        )
    )
