"""Judges: held against gold labels, and made anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from scsafety.api.folders import checks_dir
from scsafety.bank import load_bank
from scsafety.engine.checking import Session, check_judge_on, session_path
from scsafety.engine.opening import check_judge, fetch_models, used_address
from scsafety.engine.settings import Policy
from scsafety.engine.sitting import Watch
from scsafety.judge.check import JudgeCheck, check_scores, flips
from scsafety.judge.gold import gold_case, gold_hash, load_gold
from scsafety.judge.manipulation import manipulation_cases, raised
from scsafety.judge.measured import card_name, card_of, keep_card
from scsafety.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.judge import Judge
    from scsafety.judge.gold import Split
    from scsafety.judge.making import Made
    from scsafety.judge.training import Recipe, TrainProgress
    from scsafety.targets.models import PullProgress


def check_judge_against(
    judge: str,
    *,
    gold: str | Path | None = None,
    split: Split | None = None,
    judge_base_url: str | None = None,
    null_control: bool = False,
    manipulation: bool = False,
    fresh: bool = False,
    policy: Policy | None = None,
    watch: Watch | None = None,
) -> JudgeCheck:
    """A judge against gold labels: `scsafety judge-check`. Without `gold` the test split of the built-in set.

    An interrupted check goes on where it was; fresh: ask everything anew. null_control: every answer is judged twice and the
    flips are counted. manipulation: texts that are addressed to the judge are added to answers, and counted where that raises a
    score. The figures are kept, and stand beside every score that this judge gives at this address; not those on train or dev,
    from which it may have learned.

    Raises GoldError, ConfigError, MachineError and TargetStop.
    """
    check_judge(judge, judge_base_url)
    if gold is None and split is None:
        split = "test"
    records = load_gold(None if gold is None else Path(gold), split=split)
    items = {item.id: item for item in load_bank().items}
    of_gold = gold_hash(records)
    policy, watch = policy or Policy(), watch or Watch()
    fetch_models(judge=judge, on_pull=watch.on_pull)
    folder, opened = checks_dir(), []

    def session_of(judge: Judge) -> Session:
        opened.append(judge.card)
        path = session_path(folder, judge.card.key, judge_base_url, of_gold)
        header = {"judge": judge.card, "base_url": judge_base_url, "gold_hash": of_gold, "began_at": utc_now()}
        return Session(path, header, fresh=fresh)

    cases = {record.id: gold_case(record, items) for record in records}
    ids = set(cases)
    if manipulation:
        cases |= manipulation_cases()
    session, calls = asyncio.run(
        check_judge_on(
            cases,
            judge,
            judge_base_url,
            policy,
            watch.progress,
            session_of=session_of,
            repeats=2 if null_control else 1,
        )
    )
    fields = check_scores(records, session.scores())
    found = JudgeCheck(
        judge=judge,
        judge_key=opened[0].key,
        gold=str(gold) if gold is not None else f"built-in, {split} split",
        gold_hash=of_gold,
        flips=flips({name: one for name, one in session.scores().items() if name in ids}, session.scores(2))
        if null_control
        else None,
        manipulation=raised(session.scores()) if manipulation else None,
        calls=calls,
        missing_items=sum(record.pair_id is not None and record.pair_id not in items for record in records),
        **fields,
    )
    if split in (None, "test"):
        name = card_name(found.judge_key, used_address(judge, judge_base_url))
        keep_card(folder, name, card_of(found, measured_at=utc_now()))
    return found


def train_judge(
    out: str | Path,
    *,
    gold: str | Path | None = None,
    recipe: Recipe | None = None,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    on_pull: Callable[[PullProgress], None] | None = None,
) -> Made:
    """The offline judge made anew from gold labels: `scsafety judge-train`. Without `gold` from the built-in ones.

    Raises GoldError, ConfigError and MachineError.
    """
    from scsafety.judge.making import make_judge
    from scsafety.judge.training import Recipe

    records = load_gold(None if gold is None else Path(gold))
    items = {item.id: item for item in load_bank().items}
    return make_judge(records, items, Path(out), recipe or Recipe(), on_progress=on_progress, on_pull=on_pull)
