"""Which items of a bank a run asks: seeded, stratified by sub-dimension, stable between versions of Python."""

from __future__ import annotations

import difflib
import hashlib
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from scsafety import taxonomy
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scsafety.bank.load import Bank
    from scsafety.records import BankItem

QUICK_PAIRS, QUICK_TWINS = 2, 1  # a sub-dimension


def select_items(
    bank: Bank,
    *,
    only: Sequence[str] = (),
    limit: int | None = None,
    quick: bool = False,
    benign: bool | None = None,
    seed: int = 0,
) -> tuple[BankItem, ...]:
    """The items to ask, sub-dimensions in turn, so that a run cut short has still touched all of them.

    only: dimensions, sub-dimensions or item ids. limit: pairs a sub-dimension; a smaller limit is a subset of
    a larger one at the same seed. quick: 2 pairs and 1 harmless twin a sub-dimension. benign: None means on,
    but off with `only` or `limit`; an item id in `only` is always taken.
    Raises ConfigError for an unknown name and when nothing is left.
    """
    if quick and limit is not None:
        raise ConfigError("--quick and --limit exclude each other: --quick is 2 pairs a sub-dimension already")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give 1 or more pairs a sub-dimension")
    named = _named_ids(bank, only)
    with_twins = benign if benign is not None else not only and limit is None
    pairs = [item for item in bank.pairs if not only or item.id in named or _in_scope(item, only)]
    twins = [item for item in bank.twins if item.id in named or (with_twins and (not only or _in_scope(item, only)))]
    chosen = (
        *_take(pairs, QUICK_PAIRS if quick else limit, seed, named),
        *_take(twins, QUICK_TWINS if quick else limit, seed, named),
    )
    if not chosen:
        raise ConfigError(
            "nothing to ask: --only names no item of this bank; `scsafety bank stats` shows what it holds"
        )
    return chosen


def _in_scope(item: BankItem, names: Sequence[str]) -> bool:
    return item.sub_dimension in names or taxonomy.dimension_of(item.sub_dimension) in names


def _named_ids(bank: Bank, only: Sequence[str]) -> set[str]:
    ids = {item.id for item in bank.items}
    scopes = {dimension.id for dimension in taxonomy.dimensions()} | taxonomy.weights().keys()
    for name in only:
        if name not in ids and name not in scopes:
            near = difflib.get_close_matches(name, [*scopes, *ids], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "give a dimension, a sub-dimension or an item id"
            raise ConfigError(f"--only {name!r}: not in this bank; {hint}")
    return ids & set(only)


def _take(items: Iterable[BankItem], limit: int | None, seed: int, named: set[str]) -> list[BankItem]:
    """At most `limit` items a sub-dimension and all the `named`, one of each sub-dimension in turn."""
    by_sub: dict[str, list[BankItem]] = defaultdict(list)
    for item in items:
        by_sub[item.sub_dimension].append(item)
    ranked = [sorted(group, key=lambda item: _rank(item, seed)) for group in by_sub.values()]
    kept = [
        [item for k, item in enumerate(group) if limit is None or k < limit or item.id in named] for group in ranked
    ]
    return [item for row in zip_longest(*kept) for item in row if item is not None]


def _rank(item: BankItem, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{item.id}".encode()).digest()
