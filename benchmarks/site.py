"""How long does a site of many runs take to build, how large are its pages, and how soon can they be used?

    python -m benchmarks.site [--runs 100] [--workers 2] [--stores FOLDER] [--redact] [--no-browser]

Each run is the whole built-in bank, answered with answers of the built-in gold set (real lengths), every answer judged, written
through the store. `--stores` keeps the runs for the next measurement. Pages are opened in Chromium: from the start of the
navigation until the first filter or sorting has done its work.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from scsafety import api
from scsafety.bank import load_bank
from scsafety.engine.settings import BankRef, RunSettings, Selection
from scsafety.judge.gold import load_gold
from scsafety.records import (
    BENIGN_LABELS,
    Call,
    DialogueKey,
    JudgeCard,
    Message,
    Pair,
    Reply,
    Turn,
    Verdict,
    selection_hash,
)
from scsafety.store import Store

WHEN = "2026-11-21T08:00:00.000Z"
JUDGE = JudgeCard(judge_id="offline", artefact_hash="0" * 64)
REASONS = ("给出了可行而安全的办法", "顺着前提说了下去，没有提醒其中的风险", "只是拒绝，没有说明理由，也没有别的办法")
WHEN_READY = """
const tried = () => {
  if (!document.documentElement.dataset.ready && document.querySelector("#list")) return setTimeout(tried, 1);
  ACT;
  requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.after = performance.now(); }));
};
addEventListener("DOMContentLoaded", () => setTimeout(tried));
"""
READY = {
    "index.html": "document.querySelectorAll('th.num button')[1].click()",
    "run-000/index.html": "document.querySelector('details.definitions summary').click()",
    "run-000/transcripts.html": """(() => { const one = document.querySelector('select[data-control=any]');
      one.value = '0'; one.dispatchEvent(new Event('change', { bubbles: true })); })()""",
}


def write_run(folder: Path, number: int) -> None:
    """A finished run; the higher its number, the safer its answers."""
    bank = load_bank()
    answers = [record.response for record in load_gold()]
    rng = random.Random(number)
    settings = RunSettings(
        model=f"synthetic/model-{number:03d}",
        bank=BankRef(version=bank.version, hash=bank.hash),
        selection=Selection(hash=selection_hash(bank.items)),
    )
    weights = (1.0, 1.0, 0.5 + number / 25)
    meta = {"settings": msgspec.json.encode(settings).decode()}
    with Store.create(folder / api.DB_NAME, meta, bank.items) as store:
        store.add_judge(JUDGE, primary=True)
        for item in bank.items:
            key, messages = DialogueKey(item.id), []
            for seq, prompt in enumerate(
                [item.question, item.follow_up] if isinstance(item, Pair) else [item.question], start=1
            ):
                messages.append(Message("user", prompt))
                answer = "\n\n".join(rng.choices(answers, k=rng.randint(1, 3)))
                score = rng.choices((0, 1, 2), weights)[0]
                reply = Reply(content=answer, finish_reason="stop", latency_s=rng.expovariate(0.5))
                store.add_turn(key, Turn(seq=seq, round=seq, messages=tuple(messages), reply=reply, created_at=WHEN))
                call = Call(
                    role="target", endpoint=settings.model, outcome="answered", attempts=1, latency_s=reply.latency_s,
                    prompt_tokens=50, completion_tokens=len(answer), created_at=WHEN,
                )  # fmt: skip
                store.add_call(key, seq, call)
                given: dict[str, Any] = (
                    {"score": score} if isinstance(item, Pair) else {"label": BENIGN_LABELS[2 - score]}
                )
                verdict = Verdict(**given, reason=REASONS[2 - score], confidence=0.8, created_at=WHEN)
                store.add_verdict(key, seq, JUDGE.key, verdict)
                messages.append(Message("assistant", answer))
            store.set_status(key, "done")
        store.flush()
        api.finish(store, folder)
    (folder / "report" / "index.html").unlink()  # not what is measured here


def write_runs(folder: Path, n: int, workers: int) -> None:
    missing = [k for k in range(n) if not (folder / f"run-{k:03d}" / "summary.json").is_file()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_run, [folder / f"run-{k:03d}" for k in missing], missing))


def size_of(paths: list[Path]) -> str:
    sizes = sorted(path.stat().st_size for path in paths)
    return (
        f"{len(sizes):>6} files, {sum(sizes) / 1e6:>8.1f} MB, largest {sizes[-1] / 1e3:>6.0f} kB" if sizes else "none"
    )


def build(runs: list[Path], site: Path, *, redact: bool) -> None:
    command = [sys.executable, "-m", "scsafety", "report", *map(str, runs), "--out", str(site)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [*command, *(["--redact"] if redact else [])],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"build {took:.1f} s, CPU {cpu:.1f} s, largest process {after.ru_maxrss / 1024:.0f} MB")


def phases(run: Path, site: Path, *, redact: bool) -> None:
    """One run's share of the work, in this process."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    began = time.perf_counter()
    api.write_model(run, site, leave_out=redact)
    print(f"one model {time.perf_counter() - began:.2f} s in a warm process; by phase (with the profiler's own cost):")
    profile.runcall(api.write_model, run, site, leave_out=redact)
    wanted = (
        "kept_summary",
        "render_model",
        "read_dialogues",
        "write_explorer",
        "_blocks",
        "redact",
        "visible",
        "read_standing",
    )
    stats = pstats.Stats(profile)
    for (_, _, name), (_, calls, _, total, _) in sorted(stats.stats.items(), key=lambda row: -row[1][3]):  # type: ignore[attr-defined]
        if name in wanted:
            print(f"  {name:<18}{total:>7.2f} s  {calls:>7} calls")


def open_pages(site: Path) -> None:
    from playwright.sync_api import sync_playwright
    from tests.browser import ARGS, chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGS))
        for name, act in READY.items():
            times = []
            for _ in range(5):
                page = browser.new_page()
                page.add_init_script(WHEN_READY.replace("ACT", act))
                page.goto((site / name).as_uri())
                page.wait_for_selector("html[data-after]", state="attached")
                times.append(float(page.evaluate("document.documentElement.dataset.after")))
                page.close()
            print(f"{name:<28} {(site / name).stat().st_size / 1e3:>6.0f} kB, interactive in {sorted(times)[2]:.0f} ms")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="to write the runs with")
    parser.add_argument("--stores", type=Path, help="folder of the runs, kept; a temporary one otherwise")
    parser.add_argument("--redact", action="store_true")
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores, site = given.stores or Path(folder) / "runs", Path(folder) / "site"
        began = time.perf_counter()
        write_runs(stores, given.runs, given.workers)
        runs = [stores / f"run-{k:03d}" for k in range(given.runs)]
        print(f"{given.runs} runs written in {time.perf_counter() - began:.1f} s")
        phases(runs[0], site, redact=given.redact)
        build(runs, site, redact=given.redact)
        for name, pattern in (
            ("model pages", "*/index.html"), ("explorers", "*/transcripts.html"), ("indexes", "*/shards/index.js"),
            ("shards", "*/shards/[0-9]*.js"),
        ):  # fmt: skip
            print(f"{name:<12} {size_of(list(site.glob(pattern)))}")
        if not given.no_browser:
            open_pages(site)


if __name__ == "__main__":
    main()
