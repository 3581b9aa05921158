"""Our own judges, strategies and targets hold the contract, and the contract finds those that do not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from scsafety.contract import PAIR, check_judge, check_strategy, check_target
from scsafety.dialogue import AttackLimits, FixedStrategy, strategy_named
from scsafety.dialogue.named import STRATEGIES
from scsafety.engine.opening import open_target
from scsafety.engine.settings import Policy
from scsafety.judge import PluginJudge
from scsafety.judge.combined import ChainJudge, PanelJudge, RepeatedJudge
from scsafety.judge.llm import LLMJudge
from scsafety.judge.offline_fast import OfflineFastJudge
from scsafety.judge.thinking import ThinkingJudge
from scsafety.records import JudgeCard, Pair, Reply, SuiteItem, Twin, Verdict
from scsafety.targets.plugin import PluginTarget
from tests.dialogue.test_crescendo import Playing
from tests.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scsafety.judge import Judge
    from scsafety.records import Call, Case, Item, Message, Sampling, Turn

OF_SUITE = SuiteItem(id="s-1", suite="s", category="c", prompts=("一", "二"))


class Grading:
    """A model that grades as it is asked to; its words are the same each time."""

    label = "fake/grader"

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        del messages, sampling
        return Reply(content='{"reason": "r", "label": "answered", "score": 2}' if json_schema else "2")


JUDGES: dict[str, Callable[[], Judge]] = {
    "offline-fast": OfflineFastJudge,
    "llm": lambda: LLMJudge("fake/grader", Grading()),
    "thinking": lambda: ThinkingJudge(OfflineFastJudge()),
    "repeated": lambda: RepeatedJudge("offline-fast*2", [OfflineFastJudge(), OfflineFastJudge()]),
    "panel": lambda: PanelJudge("panel:a,b", [OfflineFastJudge(), LLMJudge("b", Grading())]),
    "chain": lambda: ChainJudge("chain:b,a", [LLMJudge("b", Grading()), OfflineFastJudge()]),
}


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_of_ours_holds_the_contract(name: str) -> None:
    check_judge(JUDGES[name]())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_of_ours_holds_the_contract(name: str) -> None:
    if name == "suite":
        check_strategy(strategy_named(name), items=(OF_SUITE,))
    elif name == "crescendo":
        playing = Playing([(False, 10), (True, None), (False, 30), (False, 90)] * 50)
        check_strategy(strategy_named(name, AttackLimits(rounds=3, backtracks=2)), items=(PAIR,), attackers=(playing,))
    else:
        check_strategy(strategy_named(name))


def test_the_chat_target_holds_the_contract() -> None:
    with ScriptedServer() as server:
        check_target(
            open_target(
                "openai-compatible/x", server.base_url, Policy(), concurrency=4, on_retry=lambda _: None, environ={}
            )
        )


class Sound(PluginJudge):
    name: ClassVar[str] = "sound"

    async def verdict(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        del on_call
        return Verdict(label="answered") if isinstance(case.item, Twin) else Verdict(score=2)


COUNTS: dict[str, Verdict] = {}
COUNTER = iter(range(100_000))


class Raw:
    """A judge that is no plug-in: nothing stands between it and the contract."""

    makes_calls = False
    card = JudgeCard(judge_id="raw", model="raw v1")

    def __init__(self, give: Callable[[Case], Any], **attributes: Any) -> None:
        self._give = give
        for name, value in attributes.items():
            setattr(self, name, value)

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        del on_call
        found: Verdict = self._give(case)
        return found


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (Raw(lambda _: Verdict(score=1)), "to a harmless twin: a label of answered"),
        (Raw(lambda _: Verdict(label="answered")), "a score of 0, 1 or 2 and no label"),
        (Raw(lambda _: Verdict(score=True)), "score True"),  # type: ignore[arg-type]
        (Raw(lambda _: Verdict(error="?")), "a plain answer stays unjudged"),
        (Raw(lambda _: Verdict(score=2, error="?")), "a verdict with an error"),
        (Raw(lambda _: Verdict(score=2, confidence=7.0)), "a confidence of 7.0"),
        (Raw(lambda _: Verdict(score=2, reason=str(next(COUNTER)))), "judged twice, and differently"),
        (Raw(lambda case: COUNTS[case.answer]), "judge raises KeyError"),
        (Raw(lambda _: None), "NoneType instead of a Verdict"),
        (Raw(lambda _: Verdict(score=2), card=JudgeCard(judge_id="raw")), "nothing but a name"),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_of_a_judge_is_named(judge: Raw, said: str) -> None:
    with pytest.raises(AssertionError, match="the judge raw breaks the contract") as caught:
        check_judge(judge)

    assert said in str(caught.value)


def test_name_version_and_parameters_are_in_a_plug_ins_key() -> None:
    def key(**fields: Any) -> str:
        return str(type("Changed", (Sound,), fields)().card.key)

    keys = {key(), key(name="other"), key(version=2), key(parameters=lambda _: {"threshold": 0.5})}

    check_judge(Sound())
    assert len(keys) == 4
    assert key() == key()
    assert key().startswith("sound@")


@pytest.mark.parametrize(
    ("give", "error"),
    [
        (lambda: 1 / 0, "the judge sound raised ZeroDivisionError: division by zero"),
        (lambda: Verdict(label="sure"), "the judge sound gave score None, label 'sure': a score of 0, 1 or 2 and no label"),
        (lambda: "2", "the judge sound gave str instead of a Verdict"),
    ],
)  # fmt: skip
def test_a_plug_in_judge_that_fails_leaves_the_answer_unjudged(give: Callable[[], Any], error: str) -> None:
    class Failing(Sound):
        async def verdict(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
            del case, on_call
            found: Verdict = give()
            return found

    from tests.judge.cases import case

    verdict = asyncio.run(Failing().judge(case(), on_call=lambda _: None))

    assert (verdict.judged, verdict.error) == (False, error)


class Twice(FixedStrategy):
    name: ClassVar[str] = "twice"

    def max_rounds(self, item: Item) -> int:
        return 2 if isinstance(item, Pair) else 1

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        return item.question if len(turns) < self.max_rounds(item) else None


class Remembering(Twice):
    def __init__(self) -> None:
        self.said: list[str] = []

    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        self.said = [*self.said, item.id] if turns else [item.id]
        return " ".join(self.said) if len(turns) < self.max_rounds(item) else None


class Endless(Twice):
    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        del turns
        return item.question


class Raising(Twice):
    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        if turns and "<script>" in (turns[-1].reply or Reply()).content:
            raise KeyError(item.id)
        return await super().next_message(item, turns)


class Mute(Twice):
    async def next_message(self, item: Item, turns: Sequence[Turn]) -> str | None:
        return " " if not turns else await super().next_message(item, turns)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (Remembering(), "keep nothing in the strategy"),
        (Endless(), "asks more than the 2 turns"),
        (Mute(), "turn 1: an empty message"),
        (type("Unversioned", (Twice,), {"version": 0})(), "a version from 1 on"),
        (type("None_", (Twice,), {"max_rounds": lambda *_: 0})(), "asks nothing"),
    ],
)
def test_what_breaks_the_contract_of_a_strategy_is_named(strategy: FixedStrategy, said: str) -> None:
    check_strategy(Twice())
    with pytest.raises(AssertionError, match="the strategy twice breaks the contract") as caught:
        check_strategy(strategy)

    assert said in str(caught.value)


class Echo(PluginTarget):
    name: ClassVar[str] = "echo"

    async def ask(
        self, messages: Sequence[Message], sampling: Sampling, *, json_schema: dict[str, Any] | None = None
    ) -> Reply:
        del sampling, json_schema
        return self.reply_to(messages[-1].content)

    def reply_to(self, text: str) -> Reply:
        return Reply(content=text)


def raising(text: str) -> Reply:
    raise KeyError(text)


@pytest.mark.parametrize(
    ("reply_to", "said"),
    [
        (raising, "ask raises KeyError"),
        (lambda text: text, "str instead of a Reply"),
        (lambda text: Reply(content=text, blocked="both"), "blocked is 'both'"),  # type: ignore[arg-type]
        (lambda text: Reply(content=text, latency_s=-1.0), "less than no time"),
        (lambda _: Reply(content="\ud83d"), "cannot be stored"),
        (lambda _: Reply(content=None), "cannot be stored"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_breaks_the_contract_of_a_target_is_named(reply_to: Callable[[str], Any], said: str) -> None:
    target = Echo("m")
    check_target(target)
    vars(target)["reply_to"] = reply_to
    with pytest.raises(AssertionError, match="the target echo/m breaks the contract") as caught:
        check_target(target)

    assert said in str(caught.value)
