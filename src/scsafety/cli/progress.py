"""Progress on the terminal; a line now and then where there is none."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType
    from rich.progress import TaskID

    from scsafety.engine.events import Progress as Counts
    from scsafety.judge.training import TrainProgress
    from scsafety.targets.models import PullProgress

LINE_EVERY_S = 20.0  # where the output is a file
BAR_CELLS = 24
STAGES = {"waiting": "等待", "connecting": "连接", "downloading": "下载", "checking": "校验"}


@contextmanager
def watching(counts: Counts) -> Iterator[Callable[[PullProgress], None]]:
    """A bar with rate, time left, running score and errors, for as long as the block lasts.

    Until the first question is asked it shows the download that the yielded callback is told of.
    """
    console = Console(stderr=True)
    download = _Download()
    status = _Status(counts)

    def render() -> RenderableType:
        if counts.turns_expected:
            return status.bar()
        return download.bar if download.bar.tasks else Text("准备中 …")

    if console.is_terminal:
        with Live(get_renderable=render, console=console, refresh_per_second=4, transient=True):
            yield download.step
        return
    ended = threading.Event()

    def lines() -> None:
        while not ended.wait(LINE_EVERY_S):
            console.print(Text(status.line()) if counts.turns_expected else render(), soft_wrap=True)

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield download.step
    finally:
        ended.set()
        thread.join()


@contextmanager
def pulling() -> Iterator[Callable[[PullProgress], None]]:
    """A bar for a download alone; the callback is told of each step."""
    download = _Download()
    with Live(
        get_renderable=lambda: download.bar if download.bar.tasks else Text(""),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    ):
        yield download.step


@contextmanager
def training() -> Iterator[Callable[[TrainProgress], None]]:
    """A bar for each stage of a training, with the mean loss of the last steps; lines now and then where there is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=console, disable=not console.is_terminal)
    tasks: dict[str, TaskID] = {}
    losses: list[float] = []
    said = 0.0

    def step(now: TrainProgress) -> None:
        nonlocal said
        if now.stage not in tasks:
            tasks[now.stage] = bars.add_task(now.stage, total=now.total)
            losses.clear()
        if now.loss is not None:
            losses.append(now.loss)
        recent = losses[-50:]
        text = now.stage + (f" · loss {sum(recent) / len(recent):.3f}" if recent else "")
        bars.update(tasks[now.stage], completed=now.done, description=text)
        if not console.is_terminal and (now.done == now.total or time.monotonic() - said > LINE_EVERY_S):
            said = time.monotonic()
            console.print(f"{text} · {now.done}/{now.total}", markup=False, highlight=False)

    with bars:
        yield step


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of how many are done of how many; where there is no terminal a line now and then."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    task, said = bars.add_task(what), time.monotonic()

    def step(done: int, total: int) -> None:
        nonlocal said
        bars.update(task, completed=done, total=total)
        if not console.is_terminal and time.monotonic() - said > LINE_EVERY_S:
            said = time.monotonic()
            console.print(f"{done}/{total} {what}", markup=False, highlight=False)

    with bars:
        yield step


class _Download:
    """A download as a renderable; nothing is drawn by itself."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns)

    def step(self, progress: PullProgress) -> None:
        if not self.bar.tasks:
            self.bar.add_task("", total=progress.total)
        description = f"{STAGES[progress.stage]} {progress.source}"
        self.bar.update(self.bar.tasks[-1].id, description=description, completed=progress.done)


class _Status:
    """The counts of a sitting as one line; the clock runs from the first question on."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._began: float | None = None

    def bar(self) -> Text:
        counts = self._counts
        filled = round(BAR_CELLS * counts.turns_done / max(counts.turns_expected, 1))
        return Text.assemble(("━" * filled, "cyan"), ("━" * (BAR_CELLS - filled), "dim"), " ", self.line())

    def line(self) -> str:
        counts = self._counts
        if self._began is None:
            self._began = time.monotonic()
        elapsed = time.monotonic() - self._began
        rate = (counts.turns_done - counts.turns_before) / elapsed if elapsed > 1 else 0.0
        parts = [f"{counts.turns_done}/{counts.turns_expected} 答"]
        if rate:
            left = int((counts.turns_expected - counts.turns_done) / rate)
            parts += [f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.0f}/min", f"剩 {left // 60}:{left % 60:02d}"]
        if counts.running_score is not None:
            parts.append(f"暂得 {counts.running_score:.1f}")
        troubles = {
            "拦截": counts.blocked,
            "失败": counts.turns_failed,
            "未评": counts.unjudged,
            "重试": counts.retries,
        }
        parts += [f"{name} {n}" for name, n in troubles.items() if n]
        if counts.note:
            parts.append("".join(c if c.isprintable() else " " for c in counts.note)[:80])
        return " · ".join(parts)
