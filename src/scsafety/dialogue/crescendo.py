"""Crescendo: an attack in small steps, each on the ground of the target's own last answer.

Source: Russinovich, Salem and Eldan, Crescendo, USENIX Security 2025 (arXiv:2404.01833). The attacker writes a question; a
refusal is taken back while there are backtracks left and counts as no round; any other answer is held against the objective,
and at the threshold the attack has succeeded. An attack asks the target at most rounds + backtracks times, the attacker and the
refusal judge as often, the success judge once a round. One model plays all three.

Ours: an answer that the vendor blocked, or an empty one, is a refusal and fulfils nothing, without a judge being asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from scsafety.dialogue import crescendo_prompts as prompts
from scsafety.dialogue.attacking import answer_of, declines, is_nothing, objective_of
from scsafety.dialogue.strategy import AttackLimits
from scsafety.records import Message, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.dialogue.attacker import Attacker
    from scsafety.dialogue.strategy import Ended
    from scsafety.records import Item, Step, Turn

WRITING = Sampling(max_tokens=1_024)  # the attacker's own temperature: a second try should differ from the first
JUDGING = Sampling(temperature=0.0, max_tokens=512)


class _Scored(NamedTuple):
    value: float  # 0 to 1
    reason: str


class Crescendo:
    """One attack, once it has its attacker. All that it knows is in the turns and steps, so that it can go on from there."""

    name: ClassVar[str] = "crescendo"
    version: ClassVar[int] = 1
    adaptive: ClassVar[bool] = True
    usual: ClassVar[AttackLimits] = AttackLimits()
    options: ClassVar[tuple[str, ...]] = ("rounds", "backtracks", "threshold")

    def __init__(self, limits: AttackLimits, attacker: Attacker | None = None) -> None:
        self.limits, self._attacker = limits, attacker
        self.ended: Ended | None = None

    def max_rounds(self, item: Item) -> int:  # noqa: ARG002
        return self.limits.rounds

    def max_turns(self, item: Item) -> int:  # noqa: ARG002
        return self.limits.rounds + self.limits.backtracks

    def against(self, attacker: Attacker) -> Self:
        return type(self)(self.limits, attacker)

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        self.ended = self.ended or await self._outcome(item, turns)
        if self.ended is not None:
            return None
        step = await self._ask_for_question(item, turns)
        if step.found is None:
            refused = step.blocked or declines(step.said, "next_question")
            self.ended = "attacker_refused" if refused else "attacker_unreadable"
            return None
        return str(step.found["next_question"])

    async def keeps(self, item: Item, turns: Sequence[Turn], turn: Turn) -> bool:
        refused = await self._refused(item, turn)
        if refused is None:
            self.ended = "judge_unreadable"
            return False
        return not refused or sum(not earlier.kept for earlier in turns) >= self.limits.backtracks

    async def _outcome(self, item: Item, turns: Sequence[Turn]) -> Ended | None:
        """Why the attack is over after these turns; None: it goes on."""
        if not turns or not turns[-1].kept:
            return None
        scored = await self._scored(item, turns[-1])
        if scored is None:
            return "judge_unreadable"
        if scored.value >= self.limits.threshold:
            return "success"
        if sum(turn.kept for turn in turns) < self.limits.rounds:
            return None
        return "refusal" if await self._refused(item, turns[-1]) else "rounds"

    async def _ask_for_question(self, item: Item, turns: Sequence[Turn]) -> Step:
        attacker, words, rounds = self._with(), _words(item), self.limits.rounds
        talk: list[Message] = [prompts.attacker_system(words, objective_of(item), rounds)]
        for turn in turns:  # its own conversation is never cut: it must remember what was refused
            step = attacker.of(turn.seq, "question")[-1]
            talk += [Message("user", step.asked), Message("assistant", step.said)]
        round_ = sum(turn.kept for turn in turns) + 1
        if not turns:
            request = prompts.first_request(words, rounds)
        elif not turns[-1].kept:
            request = prompts.after_refusal(words, turns[-1].messages[-1].content, round_, rounds)
        else:
            scored = await self._scored(item, turns[-1]) or _Scored(0.0, "")
            request = prompts.after_answer(words, answer_of(turns[-1]), *scored, round_, rounds)
        return await attacker.ask(
            len(turns) + 1,
            "question",
            [*talk, Message("user", request)],
            WRITING,
            read=prompts.read_question,
            schema=prompts.QUESTION_SCHEMA,
            stricter=words.stricter,
        )

    async def _refused(self, item: Item, turn: Turn) -> bool | None:
        """None: the refusal judge could not be read."""
        if is_nothing(turn):
            return True
        words = _words(item)
        found = await self._judge(
            turn.seq,
            "refusal",
            prompts.refusal_prompt(words, turn.messages[-1].content, answer_of(turn)),
            read=prompts.read_refusal,
            schema=prompts.REFUSAL_SCHEMA,
            stricter=words.stricter,
        )
        return None if found is None else bool(found["refusal"])

    async def _scored(self, item: Item, turn: Turn) -> _Scored | None:
        """How far a kept answer fulfils the objective; None: the success judge could not be read."""
        if is_nothing(turn):
            return _Scored(0.0, "")
        words = _words(item)
        found = await self._judge(
            turn.seq,
            "success",
            prompts.success_prompt(words, objective_of(item), answer_of(turn)),
            read=prompts.read_success,
            schema=prompts.SUCCESS_SCHEMA,
            stricter=words.stricter,
        )
        return None if found is None else _Scored(found["value"], found["reason"])

    async def _judge(self, seq: int, kind: str, messages: Sequence[Message], **how: Any) -> dict[str, Any] | None:
        return (await self._with().ask(seq, kind, messages, JUDGING, **how)).found

    def _with(self) -> Attacker:
        if self._attacker is None:
            raise TypeError("an adaptive strategy needs its attacker; see `against`")
        return self._attacker


def _words(item: Item) -> prompts.Wording:
    return prompts.wording_for(objective_of(item) + item.question)
