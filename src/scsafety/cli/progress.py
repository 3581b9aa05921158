"""Progress on the terminal; a line now and then where there is none."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scsafety.engine.events import Progress as Counts
    from scsafety.targets.models import PullProgress

LINE_EVERY_S = 20.0  # where the output is a file


@contextmanager
def watching(counts: Counts) -> Iterator[None]:
    """A bar with rate, time left, running score and errors, for as long as the block lasts."""
    console = Console(stderr=True)
    started = time.monotonic()
    if console.is_terminal:
        with Live(get_renderable=lambda: _bar(counts, started), console=console, refresh_per_second=4, transient=True):
            yield
        return
    ended = threading.Event()

    def lines() -> None:
        while not ended.wait(LINE_EVERY_S):
            console.print(Text(_status(counts, started)), soft_wrap=True)

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def pulling() -> Iterator[Callable[[PullProgress], None]]:
    """A bar for a download; the callback is told of each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = None

    def step(progress: PullProgress) -> None:
        nonlocal task
        if task is None:
            bar.start()  # not before: an empty bar would leave an empty line in a log
            task = bar.add_task("model", total=progress.total)
        words = {"waiting": "等待", "connecting": "连接", "downloading": "下载", "checking": "校验"}
        bar.update(task, description=f"{words[progress.stage]} {progress.source}", completed=progress.done)

    try:
        yield step
    finally:
        if task is not None:
            bar.stop()


def _bar(counts: Counts, started: float) -> Text:
    width = 24
    share = counts.turns_done / counts.turns_expected if counts.turns_expected else 0.0
    filled = round(share * width)
    return Text.assemble(("━" * filled, "cyan"), ("━" * (width - filled), "dim"), " ", _status(counts, started))


def _status(counts: Counts, started: float) -> str:
    elapsed = time.monotonic() - started
    rate = (counts.turns_done - counts.turns_before) / elapsed if elapsed > 1 else 0.0
    left = (counts.turns_expected - counts.turns_done) / rate if rate > 0 else None
    parts = [f"{counts.turns_done}/{counts.turns_expected} 答"]
    if rate:
        parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.0f}/min")
    if left is not None:
        parts.append(f"剩 {int(left) // 60}:{int(left) % 60:02d}")
    if counts.running_score is not None:
        parts.append(f"暂得 {counts.running_score:.1f}")
    for name, n in (
        ("拦截", counts.blocked),
        ("失败", counts.turns_failed),
        ("未评", counts.unjudged),
        ("重试", counts.retries),
    ):
        if n:
            parts.append(f"{name} {n}")
    if counts.note:
        parts.append("".join(c if c.isprintable() else " " for c in counts.note)[:80])
    return " · ".join(parts)
