"""Strategies: the next message of a dialogue, or the end of it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from scsafety.dialogue import FixedFollowUp, strategy_named
from scsafety.dialogue.named import ADAPTIVE, STRATEGIES
from scsafety.dialogue.strategy import AttackLimits
from scsafety.errors import ConfigError
from scsafety.records import Item, Message, Reply, SuiteItem, Turn
from tests.bank.records import pair, twin

PAIR, TWIN = pair(question="问题", follow_up="追问"), twin(question="无害的问题")
OF_SUITE = SuiteItem(id="s-1", suite="s", category="c", prompts=("一", "二", "三"))


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


@pytest.mark.parametrize(
    ("name", "item"), [("fixed", PAIR), ("fixed", TWIN), ("suite", OF_SUITE)], ids=["pair", "twin", "suite"]
)
def test_no_strategy_asks_more_rounds_than_it_says(name: str, item: Item) -> None:
    strategy = strategy_named(name)
    turns = [answered(n) for n in range(1, strategy.max_rounds(item) + 1)]

    assert asyncio.run(strategy.next_message(item, turns)) is None
    assert asyncio.run(strategy.next_message(item, [])) is not None
    assert strategy.max_turns(item) == len(turns)


def test_what_is_not_adaptive_keeps_every_answer() -> None:
    for name in STRATEGIES:
        strategy = strategy_named(name)
        assert strategy.adaptive == (name in ADAPTIVE)
        if not strategy.adaptive:
            assert asyncio.run(strategy.keeps(PAIR, [], answered(1)))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"rounds": 0}, "--attack-rounds 0"),
        ({"backtracks": -1}, "--attack-backtracks -1"),
        ({"threshold": 0.0}, "--attack-threshold 0"),
        ({"threshold": 1.5}, "--attack-threshold 1.5"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        AttackLimits(**limits)


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

    assert asyncio.run(strategy.next_message(OF_SUITE, [answered(1)])) == "二"
    with pytest.raises(TypeError, match="belongs to no suite"):
        strategy.max_rounds(PAIR)
