"""Does a run say what its store holds? Everything that can be recomputed is, and compared.

This finds damage, editing by hand and reports that were not brought up to date. It is no proof against somebody who
rewrites store and summary together.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.records import Pair, SuiteItem, content_hash, selection_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scsafety.records import Item
    from scsafety.report.summary import Summary
    from scsafety.store import Store, StoredTurn

# what may differ between two moments or machines without anything being wrong
PASSING = ("versions", "cost")
LATER = (
    "attack",
    "by",
    "endpoints",
    "epochs",
    "people",
    "sub_dimension_rounds",
    "suite",
)  # an older version's summary lacks them
MAX_FOUND = 50


def verify_run(store: Store, summary: Summary, summary_file: Path) -> list[str]:
    """What does not hold, one line each; empty where everything does. summary: computed anew from the store.

    Raises StoreError where the store cannot be read at all.
    """
    items, turns = list(store.items()), list(store.turns())
    checks = (
        _of_items(store, items, summary),
        _of_turns(items, turns),
        _of_verdicts(store, turns),
        _of_summary(summary, summary_file),
    )
    found = list(islice(chain.from_iterable(checks), MAX_FOUND))
    return [*found, "and more"] if len(found) == MAX_FOUND else found


def _of_items(store: Store, items: Sequence[Item], summary: Summary) -> Iterator[str]:
    problem = store.integrity()
    if problem is not None:
        yield f"run.db: {problem}"
    stored = store.content_hashes()
    for item in items:
        if content_hash(item) != stored[item.id]:
            yield f"{item.id}: the question was changed after it was frozen (its hash differs)"
    if selection_hash(items) != summary.settings.selection.hash:
        yield "the items are not those that the run selected (their hash differs)"


def _of_turns(items: Sequence[Item], turns: Sequence[StoredTurn]) -> Iterator[str]:
    """Whether each turn asked what the item says, behind the conversation that went before."""
    by_id = {item.id: item for item in items}
    dialogues: defaultdict[Any, list[StoredTurn]] = defaultdict(list)
    for stored in turns:
        dialogues[stored.key].append(stored)
    for key, held in dialogues.items():
        item = by_id.get(key.item_id)
        if item is None:
            yield f"{key.item_id}: a dialogue about an item that is not in the run"
            continue
        if key.strategy == "fixed":
            yield from _of_fixed(item, held)
        if not isinstance(item, SuiteItem):  # whose conversation may begin with given answers
            yield from _of_history(item, held)


def _of_fixed(item: Item, held: list[StoredTurn]) -> Iterator[str]:
    prompts = [item.question, item.follow_up] if isinstance(item, Pair) else [item.question]
    for stored in held:
        turn = stored.turn
        if turn.seq > len(prompts) or turn.messages[-1].content != prompts[turn.seq - 1]:
            yield f"{_where(item, stored)}: was not asked in the item's words"


def _of_history(item: Item, held: list[StoredTurn]) -> Iterator[str]:
    """Every kept answer stays in view, as it was given; one that was taken back is seen no more."""
    said: list[str] = []
    for n_before, stored in enumerate(held):
        turn, where = stored.turn, _where(item, stored)
        if turn.round != n_before + 1:
            yield f"{where}: is round {turn.round}, not {n_before + 1}"
        answers = [message.content for message in turn.messages if message.role == "assistant"]
        if len(answers) != n_before:
            yield f"{where}: has {len(answers)} earlier answers in view, not {n_before}"
        for earlier, shown in zip(said, answers, strict=False):
            if earlier and shown != earlier:
                yield f"{where}: an earlier answer was changed in the conversation"
        reply = turn.reply
        # what was blocked or empty is shown by a placeholder instead
        said.append(reply.content if reply is not None and not reply.blocked and reply.content.strip() else "")


def _where(item: Item, stored: StoredTurn) -> str:
    return f"{item.id} epoch {stored.key.epoch} turn {stored.turn.seq}"


def _of_verdicts(store: Store, turns: Sequence[StoredTurn]) -> Iterator[str]:
    answered = {(stored.key, stored.turn.seq) for stored in turns if stored.turn.reply is not None}
    if sum(primary for _, primary in store.judges()) > 1:
        yield "more than one judge is primary"
    for card, _ in store.judges():
        for given in store.verdicts(card.key):
            if (given.key, given.seq) not in answered:
                yield f"{given.key.item_id} turn {given.seq}: a verdict of {card.key} on a turn without an answer"


def _of_summary(summary: Summary, path: Path) -> Iterator[str]:
    try:
        written = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        yield f"{path.name}: cannot be read ({error})"
        return
    now = msgspec.json.decode(msgspec.json.encode(summary))
    for one in (written, now):
        for name in PASSING:
            one.pop(name, None)
        if isinstance(one.get("judge"), dict):  # measured again since
            one["judge"].pop("agreement", None)
            one["judge"].pop("note", None)
        if isinstance(one.get("attack"), dict):
            one["attack"].pop("cost_per_success", None)
    if isinstance(settings := written.get("settings"), dict):  # an older version's lack what was not to be set then
        settings.update(
            {name: value for name, value in now["settings"].items() if value is None and name not in settings}
        )
    for name in sorted({*written, *now} - {name for name in LATER if name not in written}):
        if written.get(name) != now.get(name):
            yield f"{path.name}: {name} is not what the store gives; `scsafety resume` writes it anew"
