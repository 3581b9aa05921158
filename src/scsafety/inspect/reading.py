"""A run of an Inspect log that we or one of our tasks wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import msgspec
from inspect_ai.log import read_eval_log

from scsafety import api
from scsafety.bank import load_bank
from scsafety.errors import ConfigError
from scsafety.inspect.carried import FORMAT, KEY, OfLog, OfSample, OfScore, item_of
from scsafety.inspect.messages import sampling_of
from scsafety.records import DialogueKey, selection_hash
from scsafety.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inspect_ai.log import EvalLog, EvalSample

    from scsafety.engine.settings import RunSettings
    from scsafety.inspect.carried import PlacedCall
    from scsafety.records import Item, JudgeCard

OURS = "scsafety/sc_safety, scsafety/sc_safety_benign and `scsafety export --format inspect`"


class _Dialogue(NamedTuple):
    key: DialogueKey
    item: Item
    carried: OfSample
    scores: list[OfScore]


def read_log(path: Path, *, name: str | None, out: Path) -> api.RunResult:
    """Raises ConfigError for a log that is not ours or was changed, MachineError and StoreError."""
    log = _opened(path)
    try:
        carried = _of_log(path, log)
        dialogues = [_dialogue(sample, carried) for sample in log.samples or []]
        items = _items(path, log, carried, dialogues)
        _check(dialogues)
    except (msgspec.MsgspecError, _Changed) as error:
        raise ConfigError(
            f"{path}: what scsafety keeps in its metadata cannot be read ({error}); was it edited?"
        ) from error
    ours = bool(carried.settings.model)  # an exported run; a task leaves it to Inspect to say who is asked
    settings = carried.settings if ours else _as_asked(carried.settings, log, items)
    folder = api.new_folder(name or (path.stem if ours else None), settings.model, out)
    meta = {
        **(carried.meta if ours else {"created_at": log.eval.created}),
        "settings": msgspec.json.encode(settings).decode(),
        "name": folder.name,
    }
    with Store.create(folder / api.DB_NAME, meta, items) as store:
        _fill(store, carried, dialogues)
        return api.finish(store, folder)


class _Changed(Exception):
    """Parts of a log that do not belong together."""


def _opened(path: Path) -> EvalLog:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give an Inspect log, like logs/NAME.eval")
    try:
        return read_eval_log(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: cannot be read as an Inspect log ({first}); give one that Inspect wrote") from error


def _of_log(path: Path, log: EvalLog) -> OfLog:
    found = (log.eval.metadata or {}).get(KEY)
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}: a log of the task {log.eval.task!r}, which is not ours; `import` takes logs of {OURS}"
        )
    if found.get("format", FORMAT) > FORMAT:
        raise ConfigError(f"{path}: written by a newer scsafety; upgrade with `pip install -U scsafety`")
    return msgspec.convert(found, OfLog)


def _dialogue(sample: EvalSample, carried: OfLog) -> _Dialogue:
    found = msgspec.convert(sample.metadata.get(KEY), OfSample)
    item = item_of(found.item)
    if item.id != sample.id:
        raise _Changed(f"sample {sample.id!r} holds the item {item.id!r}")
    if not carried.settings.model and found.turns and found.status == "open":
        found = msgspec.structs.replace(found, status="failed")  # Inspect ended the sample in its middle
    of_judges = [one.metadata[KEY] for one in (sample.scores or {}).values() if KEY in (one.metadata or {})]  # type: ignore[index]
    scores = [msgspec.convert(one, OfScore) for one in of_judges]
    return _Dialogue(DialogueKey(item.id, sample.epoch, found.strategy, found.attempt), item, found, scores)


def _items(path: Path, log: EvalLog, carried: OfLog, dialogues: Sequence[_Dialogue]) -> list[Item]:
    """Every item that was to be asked, in its order; those that Inspect did not come to are the bank's."""
    known = {one.item.id: one.item for one in dialogues}
    known |= {item.id: item for item in map(item_of, carried.unasked)}
    ids = [str(item_id) for item_id in log.eval.dataset.sample_ids or known]
    if not known.keys() >= set(ids):
        bank = load_bank()
        if bank.hash != carried.settings.bank.hash:
            raise ConfigError(
                f"{path}: was cut off, and the items that are missing are of another bank ({carried.settings.bank.version}) than "
                "the one here; finish it with `inspect eval-retry`"
            )
        known = {**{item.id: item for item in bank.items}, **known}
    try:
        return [known[item_id] for item_id in ids]
    except KeyError as error:
        raise _Changed(f"no item {error}") from error


def _check(dialogues: Sequence[_Dialogue]) -> None:
    """What the store would refuse."""
    if len({one.key for one in dialogues}) < len(dialogues):
        raise _Changed("a sample stands there twice")
    for one in dialogues:
        answered = {turn.seq for turn in one.carried.turns if turn.reply is not None}
        if any(given.seq not in answered for score in one.scores for given in score.verdicts):
            raise _Changed(f"sample {one.key.item_id!r} has a verdict on an answer that it has not")


def _as_asked(settings: RunSettings, log: EvalLog, items: Sequence[Item]) -> RunSettings:
    """The settings of a task, with what Inspect's own fields say."""
    fields: dict[str, Any] = {
        "model": log.eval.model,
        "base_url": log.eval.model_base_url,
        "sampling": sampling_of(log.eval.model_generate_config.merge(log.plan.config)),
        "epochs": log.eval.config.epochs or 1,
        "selection": msgspec.structs.replace(settings.selection, hash=selection_hash(items)),
    }
    return msgspec.structs.replace(settings, **fields)


def _fill(store: Store, carried: OfLog, dialogues: Sequence[_Dialogue]) -> None:
    """Everything in one transaction, calls in the order in which they were made."""
    calls: list[tuple[DialogueKey | None, PlacedCall]] = [(None, made) for made in carried.calls]
    for judge in carried.judges:
        store.add_judge(judge.card, primary=judge.primary)
    known: dict[str, JudgeCard] = {judge.card.key: judge.card for judge in carried.judges}
    for key, _, of, scores in dialogues:
        store.begin(key)
        for turn in of.turns:
            store.add_turn(key, turn)
        for step in of.steps:
            store.add_step(key, step)
        store.set_status(key, of.status, of.ended)
        calls += [(key, made) for made in of.calls]
        for score in scores:
            card = score.judge
            if card.key not in known:
                store.add_judge(card, primary=not known)
                known[card.key] = card
            for given in score.verdicts:
                store.add_verdict(key, given.seq, card.key, given.verdict)
            calls += [(key, made) for made in score.calls]
    for of_dialogue, made in sorted(calls, key=lambda one: one[1].place):
        store.add_call(of_dialogue, made.seq, made.call, judge_key=made.judge_key)
    store.flush()
