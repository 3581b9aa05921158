"""A run as an Inspect log: what Inspect has a field for goes there too, all of it into the metadata (`carried.py`)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)

from scsafety.dialogue.hold import opening_messages
from scsafety.errors import ConfigError
from scsafety.files import whole
from scsafety.inspect.carried import KEY, Given, JudgeOfLog, OfLog, OfSample, PlacedCall, item_object, sample_metadata
from scsafety.inspect.messages import chat_message, config_of, conversation, output_of, tokens, usage_of
from scsafety.inspect.scorers import score_of
from scsafety.inspect.tasks import aim_of
from scsafety.records import Message, Twin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from inspect_ai.model import ModelUsage
    from inspect_ai.scorer import Score

    from scsafety.api import Run
    from scsafety.engine.settings import RunSettings
    from scsafety.records import DialogueKey, Item, JudgeCard, Turn
    from scsafety.report.summary import ScoreOf, Summary
    from scsafety.store import Store

SUFFIX = ".eval"
NOT_CARRIED = (
    "settings",
    "reported",
)  # rows of the store's `meta`: one has a field of its own, one is of the summary's file


def write_log(run: Run, path: Path) -> None:
    """Whole or not at all. Raises ConfigError, MachineError and StoreError."""
    if path.suffix != SUFFIX:
        raise ConfigError(f"--to {path}: an Inspect log ends in {SUFFIX}")
    with run.open() as store:
        log = as_log(store, run.settings, run.summary)
    with whole(path) as half:
        write_eval_log(log, half)


def as_log(store: Store, settings: RunSettings, summary: Summary) -> EvalLog:
    """Raises StoreError."""
    meta, judges, items = store.all_meta(), store.judges(), list(store.items())
    calls: defaultdict[DialogueKey | None, list[PlacedCall]] = defaultdict(list)
    for place, made in enumerate(store.calls(), start=1):
        calls[made.key].append(PlacedCall(made.call, made.seq, made.judge_key, place))
    samples = list(_samples(store, {item.id: item for item in items}, judges, calls, settings))
    asked = {sample.id for sample in samples}
    carried = OfLog(
        settings=settings,
        meta={key: value for key, value in meta.items() if key not in NOT_CARRIED},
        judges=tuple(JudgeOfLog(card, primary) for card, primary in judges),
        unasked=tuple(item_object(item) for item in items if item.id not in asked),
        calls=tuple(calls[None]),
    )
    mark = hashlib.sha256(f"{summary.run} {meta.get('created_at')} {settings.model}".encode()).hexdigest()[:22]
    began = meta.get("created_at") or summary.completed_at
    name = f"scsafety suite {settings.suite.name}" if settings.suite else f"scsafety bank {settings.bank.version}"
    return EvalLog(
        status="success" if summary.complete else "cancelled",
        eval=EvalSpec(
            eval_id=mark,
            run_id=mark,
            task_id=mark,
            created=began,
            task="scsafety",
            task_display_name=f"scsafety: {summary.run}",
            task_version=settings.strategy_version,
            dataset=EvalDataset(name=name, samples=len(items), sample_ids=[item.id for item in items]),
            model=settings.model,
            model_base_url=settings.base_url,
            model_generate_config=config_of(settings.sampling),
            config=EvalConfig(epochs=settings.epochs),
            packages={"scsafety": version("scsafety")},
            metadata={"versions": summary.versions, KEY: msgspec.to_builtins(carried)},
        ),
        plan=EvalPlan(
            name="scsafety",
            steps=[EvalPlanStep(solver=f"scsafety/{settings.strategy}")],
            config=config_of(settings.sampling),
        ),
        results=EvalResults(
            total_samples=len(items) * settings.epochs,
            completed_samples=sum(sample.error is None for sample in samples),
            scores=list(_results(summary, _score_names(judges))),
        ),
        stats=EvalStats(started_at=began, completed_at=summary.completed_at, model_usage=_usage(store)),
        samples=samples,
    )


def _samples(
    store: Store,
    items: Mapping[str, Item],
    judges: Sequence[tuple[JudgeCard, bool]],
    calls: Mapping[DialogueKey | None, Sequence[PlacedCall]],
    settings: RunSettings,
) -> Iterator[EvalSample]:
    """One a dialogue that has begun."""
    given: defaultdict[tuple[DialogueKey, str], list[Given]] = defaultdict(list)
    for judge_key, stored in store.verdict_history():
        given[stored.key, judge_key].append(Given(stored.seq, stored.round, stored.verdict))
    turns: dict[DialogueKey, list[Turn]] = {
        key: [stored.turn for stored in held]
        for key, held in groupby(store.turns(taken_back=True), key=lambda stored: stored.key)
    }
    names = _score_names(judges)
    for held in store.held():
        item, said = items[held.key.item_id], turns.get(held.key, [])
        carried = OfSample(
            item=item_object(item),
            strategy=held.key.strategy,
            attempt=held.key.attempt,
            status=held.status,
            ended=held.ended,
            turns=tuple(said),
            steps=tuple(store.steps(held.key)),
            calls=tuple(calls.get(held.key, ())),
        )
        scores = {
            names[card.key] + (OF_TWINS if isinstance(item, Twin) else ""): score_of(item, said, card, found)
            for card, _ in judges
            if (found := given.get((held.key, card.key)))
        }
        yield _sample(item, held.key.epoch, carried, scores, settings)


def _sample(item: Item, epoch: int, carried: OfSample, scores: dict[str, Score], settings: RunSettings) -> EvalSample:
    turns = carried.turns
    asked = turns[0].messages if turns else (*opening_messages(item, settings.system), Message("user", item.question))
    error = turns[-1].error if turns else None
    times = [turn.created_at for turn in turns]
    return EvalSample(
        id=item.id,
        epoch=epoch,
        input=[chat_message(message) for message in asked],
        target=aim_of(item),
        messages=conversation(turns),
        output=output_of(turns, settings.model),
        scores=scores,
        metadata=sample_metadata(item, carried),
        model_usage={settings.model: usage_of(turns)},
        started_at=times[0] if times else None,
        completed_at=times[-1] if times else None,
        error=None if error is None else EvalError(message=error, traceback="", traceback_ansi=""),
    )


OF_TWINS = ": over-refusal"


def _score_names(judges: Sequence[tuple[JudgeCard, bool]]) -> dict[str, str]:
    """What each judge's scores are called, by its key: as the user wrote it, or exactly where two share that."""
    ids = [card.judge_id for card, _ in judges]
    return {card.key: card.judge_id if ids.count(card.judge_id) == 1 else card.key for card, _ in judges}


def _results(summary: Summary, names: Mapping[str, str]) -> Iterator[EvalScore]:
    """The summary's figures, which are the primary judge's."""
    name = names.get(summary.judge.key, summary.judge.id)
    if summary.suite is not None:
        found = {one["name"]: one["value"] for one in summary.suite.metrics}
        yield _result(name, found)
        return
    if summary.bank.pairs:
        rounds = {
            f"round_{round_}" if round_.isdigit() else round_: one.score for round_, one in summary.rounds.items()
        }
        dimensions = {dimension: one.score for dimension, one in summary.dimensions.items()}
        shares = {"unsafe_rate": summary.unsafe_rate, "cave_rate": summary.cave_rate}
        yield _result(
            name, {"score": summary.overall.score, **_interval(summary.overall), **rounds, **dimensions, **shares}
        )
    if (twins := summary.over_refusal) is not None:
        low, high = twins.ci95 or (None, None)
        yield _result(name + OF_TWINS, {"over_refusal": twins.rate, "ci95_low": low, "ci95_high": high})


def _interval(found: ScoreOf) -> dict[str, float | None]:
    low, high = found.ci95 or (None, None)
    return {"ci95_low": low, "ci95_high": high}


def _result(name: str, figures: Mapping[str, Any]) -> EvalScore:
    metrics = {key: EvalMetric(name=key, value=value) for key, value in figures.items() if value is not None}
    return EvalScore(name=name, scorer=name, metrics=metrics)


def _usage(store: Store) -> dict[str, ModelUsage]:
    """By endpoint, whatever it was asked as."""
    found: dict[str, ModelUsage] = {}
    for _, endpoint, _, prompt, completion in store.spent():
        used = tokens(prompt, completion)
        found[endpoint] = found[endpoint] + used if endpoint in found else used
    return found
