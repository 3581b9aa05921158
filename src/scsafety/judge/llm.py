"""An LLM as judge: any endpoint that can be a target can judge."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import CallFailed
from scsafety.judge import rubric
from scsafety.records import Call, Case, JudgeCard, Reply, Sampling, Twin, Verdict, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.targets.base import Target

SAMPLING = Sampling(temperature=0.0, max_tokens=1_024, seed=0)
MAX_RAW_CHARS = 4_000


class LLMJudge:
    """Asks with the rubric; a reply that cannot be read is asked for once more, stricter, then left unjudged."""

    def __init__(self, judge_id: str, target: Target) -> None:
        self._target = target
        self.card = JudgeCard(
            judge_id=judge_id,
            model=target.label,
            prompt_hash=rubric.prompt_hash(),
            parameters={"temperature": SAMPLING.temperature, "max_tokens": SAMPLING.max_tokens, "seed": SAMPLING.seed},
        )

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        parse = rubric.parse_label if isinstance(case.item, Twin) else rubric.parse_score
        problem, raw = "", None
        for stricter in (False, True):
            prompt = rubric.write_prompt(case, nonce=secrets.token_hex(8), stricter=stricter)
            try:
                reply = await self._target.ask(prompt, SAMPLING, json_schema=rubric.schema_for(case))
            except CallFailed as failure:
                on_call(self._failed(failure))
                return Verdict(error=f"no answer from the judge: {failure}", raw=failure.raw or raw)
            on_call(self._answered(reply))
            if reply.blocked:
                return Verdict(
                    error=f"the judge's own endpoint blocked the request ({reply.blocked})", raw=reply.raw or raw
                )
            raw = reply.content[:MAX_RAW_CHARS]
            if (verdict := parse(reply.content)) is not None:
                return msgspec.structs.replace(verdict, raw=raw)
            cut = " (cut at its token limit)" if reply.finish_reason == "length" else ""
            problem = f"the judge's reply could not be read{cut}"
        return Verdict(error=problem, raw=raw)

    def _answered(self, reply: Reply) -> Call:
        return Call(
            role="judge",
            endpoint=self._target.label,
            outcome=f"blocked_{reply.blocked}" if reply.blocked else "answered",
            attempts=reply.attempts,
            latency_s=reply.latency_s,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            model=reply.model,
            request_id=reply.request_id,
            fingerprint=reply.fingerprint,
            created_at=utc_now(),
        )

    def _failed(self, failure: CallFailed) -> Call:
        return Call(
            role="judge",
            endpoint=self._target.label,
            outcome=failure.kind,
            attempts=failure.attempts,
            latency_s=0.0,
            raw=failure.raw,
            created_at=utc_now(),
        )
