"""Which of a suite's items a run asks."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.records import SuiteItem
    from scsafety.suites.base import Suite

NO_IMAGES = "the target takes no images"


def known_variant(suite: Suite, variant: str | None) -> str:
    """The way of asking, the suite's first where none is given. Raises ConfigError."""
    if variant is None or variant in suite.variants:
        return variant or (suite.variants[0] if suite.variants else "")
    there = f"it has {', '.join(suite.variants)}" if suite.variants else "it has none; leave --variant out"
    raise ConfigError(f"--variant {variant}: {suite.name} has no such way of asking; {there}")


def choose(
    items: Sequence[SuiteItem], *, limit: int | None, only: Sequence[str], seed: int, images: bool
) -> tuple[tuple[SuiteItem, ...], dict[str, int]]:
    """The items that are asked, in the order of the data, and how many are left out by why.

    Items of one group are taken or left together. limit: groups a category, by a hash of seed and group, so that the choice
    is the same on every machine. Raises ConfigError for an unknown category and where nothing is left.
    """
    categories = dict.fromkeys(item.category for item in items)
    for name in only:
        if name not in categories:
            near = difflib.get_close_matches(name, categories, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(categories)}"
            raise ConfigError(f"--only {name!r}: no category of this suite; {hint}")
    kept = [item for item in items if not only or item.category in only]
    if limit is not None:
        if limit < 1:
            raise ConfigError(f"--limit {limit}: give 1 or more")
        groups: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        for item in kept:
            groups[item.category][_group(item)] = hashlib.sha256(f"{seed}:{_group(item)}".encode()).digest()
        taken = {name for ranks in groups.values() for name in sorted(ranks, key=ranks.__getitem__)[:limit]}
        kept = [item for item in kept if _group(item) in taken]
    left_out = Counter(NO_IMAGES for item in kept if item.image is not None and not images)
    asked = tuple(item for item in kept if item.image is None or images)
    if not asked:
        raise ConfigError("nothing of the suite is left to ask" + (f": {NO_IMAGES}" if left_out else ""))
    return asked, dict(left_out)


def _group(item: SuiteItem) -> str:
    return item.group or item.id
