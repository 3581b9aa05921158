"""Strategies: the next message of a dialogue, or the end of it."""

from __future__ import annotations

import asyncio

import pytest

from scsafety.dialogue import FixedFollowUp, strategy_named
from scsafety.dialogue.strategy import STRATEGIES
from scsafety.errors import ConfigError
from scsafety.records import Item, Message, Reply, SuiteItem, Turn
from tests.bank.records import pair, twin

PAIR, TWIN = pair(question="问题", follow_up="追问"), twin(question="无害的问题")
OF_SUITE = SuiteItem(id="own-1", suite="own", category="c", prompts=("先分析", "再说一个词"))
ASKED: dict[str, list[Item]] = {"fixed": [PAIR, TWIN], "suite": [OF_SUITE]}


def answered(n: int) -> Turn:
    return Turn(seq=n, round=n, messages=(Message("user", "…"),), reply=Reply(content="答"), created_at="")


@pytest.mark.parametrize(
    ("item", "asked"), [(PAIR, ["问题", "追问", None]), (TWIN, ["无害的问题", None])], ids=["pair", "twin"]
)
def test_the_fixed_follow_up_asks_the_question_then_the_follow_up_then_nothing(
    item: Item, asked: list[str | None]
) -> None:
    async def messages() -> list[str | None]:
        turns = [answered(n) for n in range(1, len(asked))]
        return [await FixedFollowUp().next_message(item, turns[:n]) for n in range(len(asked))]

    assert asyncio.run(messages()) == asked


@pytest.mark.parametrize(("name", "item"), [(name, item) for name in STRATEGIES for item in ASKED[name]])
def test_no_strategy_asks_more_rounds_than_it_says(name: str, item: Item) -> None:
    strategy = strategy_named(name)
    turns = [answered(n) for n in range(1, strategy.max_rounds(item) + 1)]

    assert asyncio.run(strategy.next_message(item, turns)) is None
    assert asyncio.run(strategy.next_message(item, [])) is not None


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_goes_by_its_own_name_and_has_a_version(name: str) -> None:
    assert strategy_named(name).name == name
    assert strategy_named(name).version >= 1


@pytest.mark.parametrize(("name", "said"), [("fixd", "did you mean 'fixed'?"), ("??", "there is fixed")])
def test_an_unknown_strategy_is_refused_with_the_mend(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        strategy_named(name)

    assert said in str(caught.value)


def test_a_suite_says_its_prompts_one_a_round() -> None:
    strategy = strategy_named("suite")

    assert asyncio.run(strategy.next_message(OF_SUITE, [answered(1)])) == "再说一个词"
    with pytest.raises(TypeError, match="belongs to no suite"):
        strategy.max_rounds(PAIR)
