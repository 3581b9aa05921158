"""An LLM as judge: any endpoint that can be a target can judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.errors import CallFailed
from scsafety.judge import rubric
from scsafety.modeltext import new_nonce
from scsafety.records import JudgeCard, Sampling, Twin, Verdict
from scsafety.targets.base import answered_call, failed_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scsafety.records import Call, Case, Message
    from scsafety.targets.base import Target

SAMPLING = Sampling(temperature=0.0, max_tokens=1_024, seed=0)
MAX_RAW_CHARS = 4_000


class LLMJudge:
    """Asks with the rubric; a reply that cannot be read is asked for once more, stricter, then left unjudged."""

    makes_calls = True

    def __init__(self, judge_id: str, target: Target, *, seed: int = 0) -> None:
        """seed: differs where one judge is asked several times."""
        self._target = target
        self._sampling = msgspec.structs.replace(SAMPLING, seed=seed)
        self.card = JudgeCard(
            judge_id=judge_id,
            model=target.label,
            prompt_hash=rubric.prompt_hash(),
            parameters={"temperature": SAMPLING.temperature, "max_tokens": SAMPLING.max_tokens, "seed": seed},
        )

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        parse = rubric.parse_label if isinstance(case.item, Twin) else rubric.parse_score
        prompts = (rubric.write_prompt(case, nonce=new_nonce(), stricter=stricter) for stricter in (False, True))
        return await ask_until_read(
            self._target, prompts, parse, self._sampling, on_call=on_call, json_schema=rubric.schema_for(case)
        )


async def ask_until_read(
    target: Target,
    prompts: Iterable[Sequence[Message]],
    read: Callable[[str], Verdict | None],
    sampling: Sampling,
    *,
    on_call: Callable[[Call], None],
    json_schema: dict[str, Any] | None = None,
    unread: Verdict | None = None,
) -> Verdict:
    """What `read` finds in the reply to the first of the prompts that it can read a reply to, with the judge's words as `raw`.

    unread: the verdict where it can read none; unjudged otherwise. A call that fails or is blocked leaves the answer unjudged.
    """
    problem, raw = "", None
    for prompt in prompts:
        try:
            reply = await target.ask(prompt, sampling, json_schema=json_schema)
        except CallFailed as failure:
            on_call(failed_call("judge", target.label, failure))
            return Verdict(error=f"no answer from the judge: {failure}", raw=failure.raw or raw)
        on_call(answered_call("judge", target.label, reply))
        if reply.blocked:
            return Verdict(
                error=f"the judge's own endpoint blocked the request ({reply.blocked})", raw=reply.raw or raw
            )
        raw = reply.content[:MAX_RAW_CHARS]
        if (verdict := read(reply.content)) is not None:
            return msgspec.structs.replace(verdict, raw=raw)
        cut = " (cut at its token limit)" if reply.finish_reason == "length" else ""
        problem = f"the judge's reply could not be read{cut}"
    return msgspec.structs.replace(unread or Verdict(error=problem), raw=raw)
