"""Building a site: from summaries that are still true, the same in one process as in several, and whole or not at all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from scsafety import api
from scsafety.api.finishing import kept_summary, summary_of
from scsafety.errors import MachineError, StoreError
from scsafety.records import Verdict
from scsafety.report.parallel import in_parallel
from scsafety.store import Store
from tests.program import PROGRAM, environment
from tests.report.build import JUDGE, Said, built_run, pair, twin

if TYPE_CHECKING:
    from pathlib import Path

    from scsafety.records import Score

SCORES: tuple[Score, ...] = (2, 0, 1)
MANY = 60


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in "abcde":
        held = [(pair("psychology", k), [Said(score=SCORES[k % 3]), Said(score=2)]) for k in range(1, 31)]
        run = folder / name
        run.mkdir()
        with built_run(run / api.DB_NAME, [*held, (twin("psychology", 1), [Said(label="answered")])], model=name):
            pass
        with Store.open(run / api.DB_NAME, write=True) as store:
            api.finish(store, run)
    return folder


def files_of(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_several_processes_write_what_one_writes_and_say_how_far_they_are(runs: Path, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    one = api.build_site("abcde", tmp_path / "one", runs, processes=1)
    two = api.build_site("abcde", tmp_path / "two", runs, processes=2, on_model=lambda *now: said.append(now))

    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert [path.relative_to(tmp_path / "one") for path in one] == [path.relative_to(tmp_path / "two") for path in two]
    assert said == [(k, 5) for k in range(6)]
    assert {"index.html", "a/index.html", "a/transcripts.html", "a/shards/01.js"} <= set(files_of(tmp_path / "one"))


def test_a_summary_is_taken_as_it_is_only_while_it_is_of_what_the_store_holds(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "a", tmp_path / "renamed")
    with Store.open(run / api.DB_NAME, write=True) as store:
        kept = kept_summary(store, run)
        assert kept is not None
        assert kept == summary_of(store, api.settings_of(store), run)
        assert kept.run == "renamed"

        written = (run / api.SUMMARY).read_bytes()
        (run / api.SUMMARY).write_bytes(written.replace(b'"unanswered": 0', b'"unanswered": 7', 1))
        assert kept_summary(store, run) is None, "edited by hand"
        (run / api.SUMMARY).write_bytes(written)
        key = list(store.turns())[2].key  # scored 1
        store.add_verdict(key, 1, JUDGE.key, Verdict(score=0, repeat=2))
        store.flush()
        assert kept_summary(store, run) is None, "another verdict"
    (run / api.SUMMARY).unlink()

    standing = api.write_model(run, tmp_path / "site")

    assert standing is not None
    assert standing.summary.labels["0"] == kept.labels["0"] + 1


def test_an_error_in_a_process_is_the_error_that_is_raised(runs: Path, tmp_path: Path) -> None:
    for name in "abcd":
        shutil.copytree(runs / name, tmp_path / name)
    (tmp_path / "c" / api.DB_NAME).write_bytes(b"no store at all")

    with pytest.raises(StoreError, match="damaged"):
        api.build_site("abcd", tmp_path / "site", tmp_path, processes=2)

    assert not (tmp_path / "site" / "index.html").exists()


def kill(_: int) -> None:
    signal.raise_signal(signal.SIGKILL)


def test_a_process_that_is_killed_is_told_as_such() -> None:
    with pytest.raises(MachineError, match="was killed"):
        list(in_parallel(kill, range(4), processes=2))


def test_ctrl_c_leaves_whole_pages_and_nothing_else(runs: Path, tmp_path: Path) -> None:
    names = [f"run-{k:02d}" for k in range(MANY)]
    for name in names:
        shutil.copytree(runs / "a", tmp_path / "runs" / name)
    whole = files_of(tmp_path / "whole") if api.build_site(["a"], tmp_path / "whole", runs) else {}
    site = tmp_path / "site"
    process = subprocess.Popen(
        [*PROGRAM, "report", *names, "--out", str(site)], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not list(site.glob("*/index.html")):
        time.sleep(0.001)  # until the first page is there

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 130, told.decode()
    assert b"Traceback" not in told
    written = files_of(site)
    assert "index.html" not in written
    begun = {name.partition("/")[0] for name in written}
    assert 0 < len(begun) < MANY
    for name in begun:
        of_run = {path.partition("/")[2] for path in written if path.startswith(f"{name}/")}
        assert of_run == {path.removeprefix("a/") for path in whole if path.startswith("a/")}
