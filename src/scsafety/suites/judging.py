"""The judge of a suite's answers: what the suite reads itself, and another judge for the rest."""

from __future__ import annotations

import hashlib
import inspect
import sys
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError
from scsafety.judge.llm import MAX_RAW_CHARS, SAMPLING, ask_until_read
from scsafety.judge.spec import MATCH
from scsafety.records import JudgeCard, Message, SuiteItem, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.judge import Judge
    from scsafety.records import Call, Case
    from scsafety.suites.base import Suite
    from scsafety.targets.base import Target

STRICTER = (
    "\n\n上一次的回复无法读取，请只按要求的格式回复。 Your last reply could not be read: use the required format only."
)


class SuiteJudge:
    """Reads by rule; asks a model, or one of our own judges, about what no rule can tell."""

    def __init__(
        self, judge_id: str, suite: Suite, *, target: Target | None = None, judge: Judge | None = None
    ) -> None:
        """target: asked in the suite's own words. judge: asked for a score, which the suite translates."""
        self._suite, self._target, self._judge = suite, target, judge
        card = judge.card if judge is not None else None
        self.card = JudgeCard(
            judge_id=judge_id,
            model=card.model if card is not None else target.label if target is not None else None,
            prompt_hash=None if target is None else _wording(suite),
            parameters={"suite": suite.name, "suite_version": suite.version, "inner": card.key if card else None},
        )

    @property
    def makes_calls(self) -> bool:
        return self._target is not None or (self._judge is not None and self._judge.makes_calls)

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        suite, item = self._suite, case.item
        if not isinstance(item, SuiteItem) or item.suite != suite.name:
            return Verdict(error=f"no item of the suite {suite.name}")
        if case.blocked and not case.answer.strip():
            return Verdict(label=suite.blocked_label, reason="平台审核拦截，没有回答")
        if not case.answer.strip():
            return Verdict(label=suite.empty_label, reason="空回答")
        if (label := suite.read(case)) is not None:
            return Verdict(label=label, reason=suite.remark(case))
        if self._target is not None:
            return await self._ask(case, self._target, on_call)
        if self._judge is None and suite.without_judge is not None:
            return Verdict(label=suite.without_judge)
        if self._judge is None:
            return Verdict(error=f"{suite.name}: this answer needs a judge; judge the run anew with --judge MODEL")
        verdict = await self._judge.judge(msgspec.structs.replace(case, item=None), on_call=on_call)
        if verdict.score is None:
            return msgspec.structs.replace(verdict, label=None)
        label = suite.of_score(case, verdict.score)
        if label is None:
            return Verdict(
                error=f"{suite.name}: a score of {verdict.score} says nothing here; judge with --judge MODEL"
            )
        return Verdict(label=label, reason=verdict.reason, confidence=verdict.confidence, raw=verdict.raw)

    async def _ask(self, case: Case, target: Target, on_call: Callable[[Call], None]) -> Verdict:
        suite, prompt = self._suite, self._suite.ask(case)

        def read(reply: str) -> Verdict | None:
            label = suite.read_judge(case, reply)
            return None if label is None else Verdict(label=label, reason=reply[:MAX_RAW_CHARS])

        unread = (
            Verdict(label=suite.unread_label, reason="裁判的回复读不出") if suite.unread_label is not None else None
        )
        prompts = ([Message("user", words)] for words in (prompt, prompt + STRICTER))
        return await ask_until_read(target, prompts, read, SAMPLING, on_call=on_call, unread=unread)


def _wording(suite: Suite) -> str:
    """SHA-256 over the module that says what the judge is asked: another wording is another judge."""
    module = sys.modules[type(suite).__module__]
    return hashlib.sha256((inspect.getsource(module) + suite.wording).encode()).hexdigest()


def check_suite_judge(suite: Suite, variant: str, judge: str | None) -> str:
    """The judge that a run of the suite gets. Raises ConfigError where one is needed and none given."""
    if not suite.needs_judge(variant):
        if suite.without_judge is None and judge not in (None, MATCH):
            raise ConfigError(
                f"--judge {judge}: {f'{suite.name} {variant}'.rstrip()} reads its answers by rule and asks no judge; leave it out"
            )
        return judge or MATCH
    if judge is None or judge == MATCH:
        raise ConfigError(
            f"{suite.name} needs a judge for its answers: --judge MODEL (deepseek/..., openai/..., "
            "local/qwen2.5-coder-1.5b to try it out)"
        )
    return judge
