"""Runs that are stored: read, held against each other, verified, and made into pages and evidence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scsafety.api.finishing import kept_summary, summary_of
from scsafety.api.folders import DB_NAME, DEFAULT_OUT, SUMMARY, find_run, settings_of
from scsafety.bank import load_bank
from scsafety.bank.standards import standard_named
from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.metrics.score import ScoreTable, boards
from scsafety.records import SuiteItem
from scsafety.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    import polars as pl

    from scsafety.engine.settings import RunSettings
    from scsafety.metrics.score import Board
    from scsafety.report.comparison import Comparison
    from scsafety.report.leaderboard import Standing
    from scsafety.report.suite_comparison import SuiteComparison
    from scsafety.report.summary import Summary


def write_model(folder: Path, out: Path, *, leave_out: bool = False) -> Standing | None:
    """A run's pages in a site, `OUT/<run>/index.html` and `transcripts.html`; returns what the leaderboard needs of it, None of a
    suite's run: its page stands alone.

    Raises StoreError and MachineError.
    """
    from scsafety.report.explorer import TRANSCRIPTS, write_explorer
    from scsafety.report.leaderboard import read_standing
    from scsafety.report.page import PAGE, render_model, write_report

    with Store.open(folder / DB_NAME) as store:
        summary = kept_summary(store, folder) or summary_of(store, settings_of(store), folder)
        if summary.suite is not None:
            write_report(store, summary, out / folder.name)
            return None
        write_explorer(store, summary, out / folder.name, leave_out=leave_out)
        write_whole(out / folder.name / PAGE, render_model(summary, TRANSCRIPTS).encode())
        return read_standing(store, summary, folder.name)


def build_site(
    runs: Iterable[str | Path],
    to: str | Path = "site",
    out: str | Path = DEFAULT_OUT,
    *,
    leave_out: bool = False,
    charts: bool = False,
    models: Path | None = None,
    ghosts: Sequence[str] = (),
    processes: int | None = None,
    on_model: Callable[[int, int], object] = lambda *_: None,
) -> list[Path]:
    """The pages of each run and a leaderboard of them all: `scsafety report`. Returns the paths of the first pages.

    leave_out: without the texts that carry a risk. charts: as files beside them. models: facts of models, TOML. ghosts:
    published rows that stand below the tables. on_model: told how many of how many runs are written. Raises ConfigError,
    StoreError and MachineError.
    """
    from scsafety.report import figures
    from scsafety.report.facts import UNKNOWN, load_facts
    from scsafety.report.page import PAGE
    from scsafety.report.parallel import in_parallel
    from scsafety.report.site import known_ghosts, refuse_namesakes, write_site

    facts, shown = load_facts(models), known_ghosts(ghosts)
    if charts:
        figures.chinese_font()  # what is missing is said before the pages are written
    folders = list(dict.fromkeys(find_run(run, out).absolute() for run in runs))
    refuse_namesakes(folders)
    standings: list[Standing] = []
    on_model(0, len(folders))
    work = partial(write_model, out=Path(to), leave_out=leave_out)
    for n_written, standing in enumerate(in_parallel(work, folders, processes=processes), start=1):
        if standing is not None:
            known = facts.get(standing.summary.target, UNKNOWN)
            standings.append(msgspec.structs.replace(standing, facts=known))
        on_model(n_written, len(folders))
    paths = [Path(to) / folder.name / PAGE for folder in folders]
    if not standings:  # suites' runs alone: no leaderboard
        return paths
    paths += write_site(standings, Path(to), shown)
    if charts:
        paths += figures.write_charts({one.page: one.summary for one in standings}, Path(to) / figures.FOLDER)
    return paths


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A stored run, read."""

    folder: Path
    settings: RunSettings
    summary: Summary

    def open(self) -> Store:
        """The store, for reading; a context manager."""
        return Store.open(self.folder / DB_NAME)

    def items(self) -> pl.DataFrame:
        """What was asked about, an item a row. This and the other tables need `scsafety[notebook]`."""
        return self._frame("items")

    def turns(self) -> pl.DataFrame:
        """Every kept turn with the primary judge's verdict, errors included: what `scsafety export` writes."""
        return self._frame("turns")

    def verdicts(self) -> pl.DataFrame:
        """The last verdict of every judge on every turn."""
        return self._frame("verdicts")

    def dialogues(self) -> pl.DataFrame:
        """Every dialogue that has begun, and how far it is."""
        return self._frame("dialogues")

    def to_pandas(self, table: str = "turns") -> pd.DataFrame:
        """`items`, `turns`, `verdicts` or `dialogues` as a pandas table. Raises ConfigError."""
        from scsafety.report.frames import pandas_frame

        with self.open() as store:
            return pandas_frame(store, table)

    def _frame(self, table: str) -> pl.DataFrame:
        from scsafety.report.frames import polars_frame

        with self.open() as store:
            return polars_frame(store, table)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from scsafety.report.cell import run_html

        return run_html(self.summary)


def load_run(run: str | Path, out: str | Path = DEFAULT_OUT) -> Run:
    """A run by its folder or name. Raises StoreError."""
    folder = find_run(run, out)
    with Store.open(folder / DB_NAME) as store:
        settings = settings_of(store)
        return Run(
            folder=folder,
            settings=settings,
            summary=summary_of(store, settings, folder),
        )


def write_standard_evidence(
    run: Run, standard: str, folder: Path, *, seed: int = 0, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """Evidence for an assessment by another standard (`gbt45654`): a page, the drawn samples as CSV, all of it as JSON.

    `formats`: `html` is these three; `docx` and `xlsx` are the same content as a document and a workbook (`scsafety[evidence]`).

    Bank sizes are those of the run's whole bank where it is the built-in one, else of what the run holds. Raises ConfigError,
    MachineError and StoreError.
    """
    from scsafety.report.evidence import assess
    from scsafety.report.evidence_files import write_evidence

    found = standard_named(standard)
    if run.settings.suite is not None:
        raise ConfigError(
            f"--standard: {run.folder.name} is a run of the suite {run.settings.suite.name}; leave it out"
        )
    with run.open() as store:
        built_in = load_bank()
        asked = tuple(item for item in store.items() if not isinstance(item, SuiteItem))
        bank = built_in.items if built_in.hash == run.settings.bank.hash else asked
        evidence = assess(store, found, bank, seed=seed)
    return write_evidence(run.summary, evidence, found, folder, formats=formats)


def verify(run: str | Path, out: str | Path = DEFAULT_OUT) -> list[str]:
    """What in a run does not hold, one line each: items, conversations, verdicts, summary. Raises StoreError."""
    from scsafety.report.verify import verify_run

    loaded = load_run(run, out)
    with loaded.open() as store:
        return verify_run(store, loaded.summary, loaded.folder / SUMMARY)


def compare(
    run_a: str | Path | Run, run_b: str | Path | Run, out: str | Path = DEFAULT_OUT, *, seed: int = 0
) -> Comparison:
    """Run b against run a on the pairs that both answered. Raises ConfigError and StoreError."""
    from scsafety.report.comparison import compare_runs

    a, b = (run if isinstance(run, Run) else load_run(run, out) for run in (run_a, run_b))
    with a.open() as store_a, b.open() as store_b:
        return compare_runs(store_a, store_b, a.summary, b.summary, seed=seed)


def compare_suites(
    run_a: str | Path, run_b: str | Path, out: str | Path = DEFAULT_OUT, *, seed: int = 0
) -> SuiteComparison:
    """Run b against run a, both of one suite, variant and data. Raises ConfigError and StoreError."""
    from scsafety.report.suite_comparison import compare_suite_runs

    a, b = load_run(run_a, out), load_run(run_b, out)
    with a.open() as store_a, b.open() as store_b:
        return compare_suite_runs(store_a, store_b, a.summary, b.summary, seed=seed)


def score(verdicts: Iterable[tuple[str, int, int | None]]) -> Board:
    """The boards of (item id, round, score) triples; a score of None is unjudged.

    >>> score([("property_privacy-001", 1, 2), ("property_privacy-001", 2, 1)]).overall
    75.0
    """
    import numpy as np

    rows: dict[str, dict[int, float]] = {}
    for item_id, round_, value in verdicts:
        rows.setdefault(item_id, {})[round_] = float("nan") if value is None else float(value)
    n_rounds = max((max(row) for row in rows.values()), default=2)
    scores = np.array([[row.get(r + 1, float("nan")) for r in range(n_rounds)] for row in rows.values()])
    return boards(
        ScoreTable(list(rows), [item_id.rpartition("-")[0] for item_id in rows], scores.reshape(-1, n_rounds))
    )
