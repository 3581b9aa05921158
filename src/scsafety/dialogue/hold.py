"""One item, one target, one conversation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from scsafety.errors import CallFailed
from scsafety.records import Item, Message, Pair, Reply, Sampling, SuiteItem, Turn, utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from scsafety.dialogue.strategy import Strategy
    from scsafety.targets.base import Target

PLACEHOLDER_VERSION = 1  # raised when one of these texts changes: round 2 then has another context
BLOCKED_ANSWER = "（上一轮的回答被平台安全审核拦截，未能显示。）"
BLOCKED_QUESTION = "（上一轮的提问被平台安全审核拦截，此处略去。）"
EMPTY_ANSWER = "（上一轮没有给出回答。）"

EMPTY_RETRY_FACTOR = 4
EMPTY_RETRY_TOKENS = 2_048  # at least, when an empty answer is asked again; thinking may have used up the first limit

FlaggedText = Literal["send", "replace"]


async def hold_dialogue(
    item: Item,
    target: Target,
    strategy: Strategy,
    *,
    sampling: Sampling,
    system: str | None = None,
    turns: Sequence[Turn] = (),
    flagged_text: FlaggedText = "send",
    before_call: Callable[[], None] = lambda: None,
) -> AsyncIterator[Turn]:
    """Ask until the strategy has nothing more to say, the whole kept history in view each time.

    An adaptive strategy's turn is given out twice where it is kept: as soon as it is answered, not kept, and once the
    strategy has decided for it, with its round.

    turns: answered turns of an earlier try; the dialogue goes on behind them. flagged_text: what becomes of a
    question that the vendor's filter blocked, when it would be sent again as history. before_call: called before the target
    is asked; what it raises ends the dialogue. A call that fails ends the dialogue with a turn that carries the error.
    Raises TargetStop, and CallFailed where the attacker's call fails.
    """
    held = list(turns)
    if (
        held and not held[-1].kept and await strategy.keeps(item, held[:-1], held[-1])
    ):  # interrupted before it was decided
        held[-1] = _kept(held)
        yield held[-1]
    while (prompt := await strategy.next_message(item, held)) is not None:
        before_call()
        messages = (
            *opening_messages(item, system),
            *_history(held, flagged_text),
            Message("user", prompt, _image(item) if not held else None),
        )
        number, round_ = len(held) + 1, sum(turn.kept for turn in held) + 1
        try:
            reply = await _ask(target, messages, sampling)
        except CallFailed as failure:
            yield Turn(
                seq=number,
                round=round_,
                messages=messages,
                error=str(failure),
                attempts=failure.attempts,
                retried=failure.retried,
                elapsed_s=failure.elapsed_s,
                created_at=utc_now(),
            )
            return
        turn = Turn(
            seq=number,
            round=None if strategy.adaptive else round_,
            kept=not strategy.adaptive,
            messages=messages,
            reply=reply,
            attempts=reply.attempts,
            retried=reply.retried,
            elapsed_s=reply.elapsed_s,
            created_at=utc_now(),
        )
        held.append(turn)
        yield turn
        if strategy.adaptive and await strategy.keeps(item, held[:-1], turn):
            held[-1] = _kept(held)
            yield held[-1]


def _kept(held: Sequence[Turn]) -> Turn:
    """The last turn, decided for."""
    return msgspec.structs.replace(held[-1], kept=True, round=sum(turn.kept for turn in held) + 1)


async def _ask(target: Target, messages: Sequence[Message], sampling: Sampling) -> Reply:
    """The target's reply; an empty one is asked for once more with a larger limit, then taken as it is."""
    reply = await target.ask(messages, sampling)
    if reply.content.strip() or reply.blocked:
        return reply
    larger = max(EMPTY_RETRY_FACTOR * (sampling.max_tokens or 0), EMPTY_RETRY_TOKENS)
    try:
        kept = await target.ask(messages, msgspec.structs.replace(sampling, max_tokens=larger))
        effort = _both(reply, kept)
    except CallFailed as failure:
        if failure.kind not in ("bad_request", "too_long"):
            failure.attempts, failure.retried, failure.elapsed_s = _both(reply, failure)
            raise
        # the endpoint does not take the larger limit: it never will, and it has answered once
        kept, effort = reply, _both(reply, failure)
    attempts, retried, elapsed_s = effort
    return msgspec.structs.replace(kept, attempts=attempts, retried=retried, elapsed_s=elapsed_s)


def _both(empty: Reply, again: Reply | CallFailed) -> tuple[int, dict[str, int], float]:
    """Attempts, retries and seconds of an empty answer and of what came when it was asked for again."""
    retried = Counter(empty.retried or {}) + Counter(again.retried or {}) + Counter(empty=1)
    return empty.attempts + again.attempts, dict(retried), empty.elapsed_s + again.elapsed_s


def opening_messages(item: Item, run_wide: str | None = None) -> tuple[Message, ...]:
    """What stands before the first question; a run-wide system prompt comes first, in one message with the item's own."""
    given = item.before if isinstance(item, SuiteItem) else ()
    own = item.system if isinstance(item, Pair) else None
    if given and given[0].role == "system":
        own, given = given[0].content, given[1:]
    text = "\n\n".join(part for part in (run_wide, own) if part)
    return ((Message("system", text),) if text else ()) + given


def _image(item: Item) -> str | None:
    return item.image if isinstance(item, SuiteItem) else None


def _history(turns: Sequence[Turn], flagged_text: FlaggedText) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        reply = turn.reply
        if reply is None or not turn.kept:
            continue
        question = turn.messages[-1]
        if reply.blocked and flagged_text == "replace":
            question = Message("user", BLOCKED_QUESTION)
        messages += [question, Message("assistant", _shown(reply))]
    return messages


def _shown(reply: Reply) -> str:
    if reply.blocked:
        return BLOCKED_ANSWER
    return reply.content if reply.content.strip() else EMPTY_ANSWER
