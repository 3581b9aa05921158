"""The contract of a suite: another benchmark's protocol on the same engine.

A suite loads the user's copy of its data as items, reads what it can out of an answer, says what a judge is to be asked about
the rest, and computes its own published metrics. Asking, storing, resuming and verifying are the engine's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import msgspec

from scsafety.metrics.rate import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from scsafety.records import Case, Score, SuiteItem

UNREADABLE = "unreadable"  # an answer that says nothing the protocol could count; never guessed
UNUSED = "unused"  # a round that the protocol asks and does not score


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """A file where its publishers keep it."""

    url: str
    file: str  # its name in the user's folder
    sha256: str | None = None  # None: not known to us; what was fetched is printed


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What `scsafety suite info` tells."""

    title: str
    paper: str  # `arXiv:2412.15265`
    licence: str
    language: str
    protocol: str  # one line, in Chinese
    where: str  # where users get the data
    homes: tuple[Home, ...] = ()  # files that `suite fetch` can get; empty: it says `where`
    warnings: tuple[str, ...] = ()  # said before fetching and running


class Attacked(msgspec.Struct, frozen=True):
    """How an attack on an item went."""

    ended: str  # why it is over, see `dialogue.Ended`
    tried: int  # answers of the target, those taken back too
    evaluated: int = 0  # of them, those that an evaluator was asked about
    unread: int = 0  # of these, those of which it said nothing that could be read


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One round of an item as scoring sees it."""

    item: SuiteItem
    round: int
    epoch: int
    label: str | None  # None: unanswered or unjudged; it enters no denominator
    blocked: bool = False
    remark: str = ""  # what the suite noted when it read the answer itself, else the judge's reason
    attacked: Attacked | None = None  # of a variant that attacks; then this is the last answer


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure, under its published name."""

    name: str
    zh: str
    value: float | None  # None: nothing to count
    n: int
    hits: int | None = None  # of a share: value = 100 * hits / n
    ci95: tuple[float, float] | None = None
    percent: bool = True
    higher_is_better: bool | None = None


class SuiteScore(msgspec.Struct, frozen=True, kw_only=True):
    metrics: tuple[Metric, ...]
    groups: dict[str, dict[str, tuple[Metric, ...]]] = {}  # by what (`category`), then by its name
    notes: tuple[str, ...] = ()  # lines in Chinese that qualify the figures


class Suite(ABC):
    """A subclass is a suite; `scsafety.suites` registers it, or an entry point of that name in another package."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raised when the same data would be asked or scored differently
    about: ClassVar[About]
    variants: ClassVar[tuple[str, ...]] = ()  # ways of asking, the default first: `qa`, `mcq`
    attacks: ClassVar[
        Mapping[str, str]
    ] = {}  # the adaptive strategy of each variant that has one; it needs an attacker
    attack_labels: ClassVar[Mapping[str, str]] = {}  # the label of an attack's last answer, by why the attack ended
    labels: ClassVar[tuple[str, ...]]  # what an answer can be, UNREADABLE and UNUSED apart
    without_judge: ClassVar[str | None] = None  # of what a judge may look at where the run has none; None: it needs one
    max_tokens: ClassVar[int | None] = None  # of the published protocol; --max-tokens wins
    blocked_label: ClassVar[str] = UNREADABLE  # of an answer that the vendor's filter took
    empty_label: ClassVar[str] = UNREADABLE
    wording: ClassVar[str] = ""  # a digest of what the judge is asked, where it stands outside the suite's module
    unread_label: ClassVar[str | None] = None  # where the judge cannot be read, asked twice; None: unjudged
    first_token: ClassVar[tuple[str, ...]] = ()  # variants whose answer is measured, see `targets.first_token`
    again: ClassVar[str] = (
        ""  # asked once more, in the same conversation, where the last answer is UNREADABLE; empty: not
    )

    @abstractmethod
    def load(self, data: Path, *, variant: str, seed: int) -> list[SuiteItem]:
        """The items of a file or folder in the published format. Raises SuiteDataError."""

    def read(self, case: Case) -> str | None:
        """The label that can be had from the answer itself; None: a judge has to say."""
        del case
        return None

    def second_request(self, case: Case) -> str | None:
        """What is asked after an item's last answer; None: it was read, a judge will read it, or the vendor's filter took it."""
        if not self.again or case.blocked:
            return None
        label = self.read(case) if case.answer.strip() else self.empty_label
        return self.again if label == UNREADABLE else None

    def remark(self, case: Case) -> str:
        """What is kept beside the label that `read` gave, for `score`: how a reference implementation would have read it."""
        del case
        return ""

    def needs_judge(self, variant: str) -> bool:
        """Whether any answer goes to a judge."""
        del variant
        return False

    def ask(self, case: Case) -> str:
        """What an LLM judge is asked about an answer; it is data there, never an order."""
        raise NotImplementedError

    def read_judge(self, case: Case, reply: str) -> str | None:
        """The label in a judge's reply; None: it cannot be read."""
        raise NotImplementedError

    def of_score(self, case: Case, score: Score) -> str | None:
        """The label behind the 0, 1 or 2 of our own judges; None: they cannot judge this suite."""
        del case, score
        return None

    @abstractmethod
    def score(self, answers: Sequence[Answer]) -> SuiteScore:
        """The published metrics. An answer without a label enters nothing; the caller reports how many there are."""


def share(name: str, zh: str, hits: int, n: int, *, higher_is_better: bool | None = None) -> Metric:
    """A share in percent with Wilson's 95% interval (Wilson 1927)."""
    bounds = wilson(hits, n)
    return Metric(
        name=name,
        zh=zh,
        value=100 * hits / n if n else None,
        n=n,
        hits=hits,
        ci95=(100 * bounds[0], 100 * bounds[1]) if bounds is not None else None,
        higher_is_better=higher_is_better,
    )


def by_group(
    answers: Sequence[Answer], key: Callable[[Answer], str], metrics: Callable[[Sequence[Answer]], tuple[Metric, ...]]
) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each group, in the order in which the groups first appear."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(key(answer), []).append(answer)
    return {name: metrics(group) for name, group in groups.items()}


def judged(answers: Iterable[Answer]) -> list[Answer]:
    """Those that have a label which counts; an unreadable answer counts as itself."""
    return [answer for answer in answers if answer.label is not None and answer.label != UNUSED]
