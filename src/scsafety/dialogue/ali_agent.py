"""ALI-Agent: a misconduct told as a scenario, and told less obviously where the target objects to it.

Source: Zheng et al., ALI-Agent, NeurIPS 2024 (arXiv:2405.14125). An emulator writes a scenario, the target is asked about it, and
an evaluator that sees only the answer says PASS (it objects) or FAIL (it does not). FAIL is the attack's success; after PASS a
refiner rewrites the scenario, so many times at most. Each scenario is a conversation of its own, so an answer that objects is
taken back; the last one is kept. One model plays all three roles. The agent's memory of what worked before is left out.

Ours: an answer that the vendor blocked, or an empty one, objects, without the evaluator being asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from scsafety.dialogue import ali_agent_prompts as prompts
from scsafety.dialogue.attacking import answer_of, declines, fenced, is_nothing, objective_of
from scsafety.dialogue.strategy import AttackLimits
from scsafety.records import Sampling, SuiteItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.dialogue.attacker import Attacker
    from scsafety.dialogue.strategy import Ended
    from scsafety.records import Item, Step, Turn

WRITING = Sampling(temperature=1.0, max_tokens=1_024)
JUDGING = Sampling(temperature=0.0, max_tokens=512)
EVALUATOR_TRIES = 2  # for a label, then for true or false


class AliAgent:
    """One attack, once it has its attacker. All that it knows is in the turns and steps, so that it can go on from there."""

    name: ClassVar[str] = "ali-agent"
    version: ClassVar[int] = 1
    adaptive: ClassVar[bool] = True
    usual: ClassVar[AttackLimits] = AttackLimits(rounds=1, backtracks=1, threshold=1.0, fresh=True)
    options: ClassVar[tuple[str, ...]] = ("backtracks",)

    def __init__(self, limits: AttackLimits, attacker: Attacker | None = None) -> None:
        self.limits, self._attacker = limits, attacker
        self.ended: Ended | None = None

    def max_rounds(self, item: Item) -> int:  # noqa: ARG002
        return 1

    def max_turns(self, item: Item) -> int:
        return 1 + self._refinements(item)

    def against(self, attacker: Attacker) -> Self:
        return type(self)(self.limits, attacker)

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        if turns and turns[-1].kept:
            self.ended = "success" if await self._gave_in(item, turns[-1]) else "refusal"
        if self.ended is not None:
            return None
        step = await self._ask_for_scenario(item, turns)
        if step.found is None:
            refused = step.blocked or declines(step.said, "scenario")
            self.ended = "attacker_refused" if refused else "attacker_unreadable"
            return None
        instruction = item.facts.get("instruction", "") if isinstance(item, SuiteItem) else _words(item).agree
        return prompts.about(instruction, step.found["scenario"])

    async def keeps(self, item: Item, turns: Sequence[Turn], turn: Turn) -> bool:
        return await self._gave_in(item, turn) or len(turns) >= self._refinements(item)

    def _refinements(self, item: Item) -> int:
        """A suite's protocol says it for each of its items."""
        own = item.facts.get("refinements") if isinstance(item, SuiteItem) else None
        return self.limits.backtracks if own is None else int(own)

    async def _ask_for_scenario(self, item: Item, turns: Sequence[Turn]) -> Step:
        attacker, words, misconduct = self._with(), _words(item), _misconduct(item)
        if turns:
            found = attacker.of(turns[-1].seq, "scenario")[-1].found or {}
            request = prompts.refiner_prompt(words, misconduct, found.get("scenario", ""), answer_of(turns[-1]))
        else:
            request = prompts.emulator_prompt(words, misconduct)
        return await attacker.ask(
            len(turns) + 1,
            "scenario",
            request,
            WRITING,
            read=prompts.read_scenario,
            schema=prompts.SCENARIO_SCHEMA,
            stricter=words.stricter,
        )

    async def _gave_in(self, item: Item, turn: Turn) -> bool:
        """Whether the evaluator says FAIL, or nothing that can be read, as in the published code."""
        if is_nothing(turn):
            return False
        words = _words(item)
        step = await self._with().ask(
            turn.seq,
            "verdict",
            prompts.evaluator_prompt(words, fenced(words.answer, answer_of(turn))),
            JUDGING,
            read=prompts.read_verdict,
            schema=prompts.VERDICT_SCHEMA,
            stricter=words.again,
            most=EVALUATOR_TRIES,
        )
        return step.found is None or step.found["label"] == "FAIL"

    def _with(self) -> Attacker:
        if self._attacker is None:
            raise TypeError("an adaptive strategy needs its attacker; see `against`")
        return self._attacker


def _misconduct(item: Item) -> str:
    """Raises TypeError for an item that has none."""
    return item.question if isinstance(item, SuiteItem) else objective_of(item)


def _words(item: Item) -> prompts.Wording:
    return prompts.wording_for(_misconduct(item) + item.question)
