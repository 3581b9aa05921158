"""A strategy yields the next user message of a dialogue, or stops; nothing else knows fixed from adaptive."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar, Protocol

from scsafety.errors import ConfigError
from scsafety.records import Item, Pair, SuiteItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import Turn


class Strategy(Protocol):
    name: ClassVar[str]
    version: ClassVar[int]  # raised when the same item would be asked differently

    def max_rounds(self, item: Item) -> int:
        """How many rounds a dialogue about `item` has at the most."""
        ...

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        """The next user message after the kept, answered `turns`, or None when the dialogue is over."""
        ...


class FixedFollowUp:
    """SC-Safety's own protocol (arXiv:2310.05818): the question, then the pair's follow-up. A twin has one round."""

    name: ClassVar[str] = "fixed"
    version: ClassVar[int] = 1

    def max_rounds(self, item: Item) -> int:
        return 2 if isinstance(item, Pair) else 1

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        if not turns:
            return item.question
        if len(turns) == 1 and isinstance(item, Pair):
            return item.follow_up
        return None


class SuiteRounds:
    """What a suite's item says, round by round."""

    name: ClassVar[str] = "suite"
    version: ClassVar[int] = 1

    def max_rounds(self, item: Item) -> int:
        return len(_of_suite(item).prompts)

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        prompts = _of_suite(item).prompts
        return prompts[len(turns)] if len(turns) < len(prompts) else None


def _of_suite(item: Item) -> SuiteItem:
    if not isinstance(item, SuiteItem):
        raise TypeError(f"{item.id} belongs to no suite")
    return item


STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (FixedFollowUp, SuiteRounds)}


def strategy_named(name: str) -> Strategy:
    """Raises ConfigError for an unknown name."""
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(STRATEGIES)}"
        raise ConfigError(f"--strategy {name!r} is unknown; {hint}")
    return STRATEGIES[name]()
