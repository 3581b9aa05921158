"""What the engine tells whoever watches: a progress bar, a log, a test."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct):
    """Counts of one sitting of a run, brought up to date in place; a watcher reads them when it likes."""

    turns_expected: int = 0
    turns_done: int = 0  # answered, blocked ones included; those of earlier sittings too
    turns_before: int = 0  # of turns_done, those of earlier sittings
    turns_failed: int = 0  # dialogues that ended in an error in this sitting
    blocked: int = 0
    verdicts_done: int = 0
    unjudged: int = 0  # verdicts that came back without a score in this sitting
    retries: int = 0
    score_sum: int = 0  # over judged answers to pairs
    score_n: int = 0
    stopped: str = ""  # a cap that ended the sitting early
    note: str = ""  # the last thing worth a line: a pause, a refused parameter

    @property
    def running_score(self) -> float | None:
        """100 x (sum of scores) / (2 x number of answers), unweighted: only an impression on the way."""
        return 100 * self.score_sum / (2 * self.score_n) if self.score_n else None
