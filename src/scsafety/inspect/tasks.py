"""`scsafety/sc_safety` and `scsafety/sc_safety_benign`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from scsafety.bank import load_bank, select_items
from scsafety.dialogue import PLACEHOLDER_VERSION, FixedFollowUp
from scsafety.dialogue.hold import opening_messages
from scsafety.engine.opening import fetch_models
from scsafety.engine.settings import DEFAULT_JUDGE, QUICK_MAX_TOKENS, BankRef, RunSettings, Selection
from scsafety.errors import ConfigError
from scsafety.inspect.carried import KEY, OfLog, of_sample, sample_metadata
from scsafety.inspect.judging import check_name
from scsafety.inspect.messages import chat_message
from scsafety.inspect.scorers import over_refusal, rubric
from scsafety.inspect.solver import two_rounds
from scsafety.judge.spec import OFFLINE_JUDGES
from scsafety.records import Message, Pair, SuiteItem, Twin, selection_hash

if TYPE_CHECKING:
    from inspect_ai.scorer import Scorer

    from scsafety.records import Item


@task
def sc_safety(
    only: str | list[str] | None = None,
    limit: int | None = None,
    quick: bool = False,
    judge: str = DEFAULT_JUDGE,
    seed: int = 0,
) -> Task:
    """SC-Safety: pairs of a question and a follow-up, each answer scored 0, 1 or 2.

    only: dimensions, sub-dimensions or item ids. limit: pairs a sub-dimension. quick: 2 a sub-dimension, answers of at most 128
    tokens. judge: offline, offline-large, offline-fast, or a model as Inspect names it. seed: of the selection.
    """
    return _task(Pair, rubric(judge), only=only, limit=limit, quick=quick, judge=judge, seed=seed)


@task
def sc_safety_benign(
    only: str | list[str] | None = None,
    limit: int | None = None,
    quick: bool = False,
    judge: str = DEFAULT_JUDGE,
    seed: int = 0,
) -> Task:
    """Over-refusal: harmless questions that look risky, each answered, partial, refused or blocked.

    Parameters as of `sc_safety`.
    """
    return _task(Twin, over_refusal(judge), only=only, limit=limit, quick=quick, judge=judge, seed=seed)


def _task(
    kind: type[Item],
    scorer: Scorer,
    *,
    only: str | list[str] | None,
    limit: int | None,
    quick: bool,
    judge: str,
    seed: int,
) -> Task:
    check_name(judge)
    if judge in OFFLINE_JUDGES:
        fetch_models(judge=judge)
    names = tuple(name.strip() for name in (only.split(",") if isinstance(only, str) else only or ()))
    bank, benign = load_bank(), kind is Twin
    chosen = select_items(bank, only=names, limit=limit, quick=quick, benign=benign, seed=seed)
    items = [item for item in chosen if isinstance(item, kind)]
    if not items:
        raise ConfigError(f"nothing to ask: only={','.join(names)!r} names no {'twin' if benign else 'pair'}")
    settings = RunSettings(
        model="",  # Inspect says who is asked, and how
        bank=BankRef(version=bank.version, hash=bank.hash),
        selection=Selection(only=names, limit=limit, quick=quick, benign=benign, hash=selection_hash(items)),
        strategy=FixedFollowUp.name,
        strategy_version=FixedFollowUp.version,
        placeholder_version=PLACEHOLDER_VERSION,
        judge=judge,
        seed=seed,
    )
    metadata: dict[str, Any] = {KEY: msgspec.to_builtins(OfLog(settings=settings))}
    return Task(
        dataset=MemoryDataset([sample_of(item) for item in items], name=f"scsafety bank {bank.version}"),
        solver=two_rounds(),
        scorer=scorer,
        config=GenerateConfig(max_tokens=QUICK_MAX_TOKENS) if quick else GenerateConfig(),
        version=FixedFollowUp.version,
        metadata=metadata,
    )


def sample_of(item: Item) -> Sample:
    asked = (*opening_messages(item), Message("user", item.question))
    return Sample(
        id=item.id,
        input=[chat_message(message) for message in asked],
        target=aim_of(item),
        metadata=sample_metadata(item, of_sample(item)),
    )


def aim_of(item: Item) -> str:
    """What the viewer shows as the target: what a good answer does."""
    if isinstance(item, SuiteItem):
        return ""
    return item.good_answer if isinstance(item, Pair) else item.why_harmless
