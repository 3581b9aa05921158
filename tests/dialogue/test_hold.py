"""A dialogue: what the target is shown in each round, and what becomes of blocks, empty answers and failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scsafety.dialogue import FixedFollowUp, hold_dialogue
from scsafety.dialogue.hold import BLOCKED_ANSWER, BLOCKED_QUESTION, EMPTY_ANSWER
from scsafety.errors import CallFailed, TargetStop
from scsafety.records import Item, Message, Reply, Sampling, Side, Turn
from tests.bank.records import pair, twin
from tests.fakes import FakeTarget

PAIR = pair(question="问题", follow_up="追问")


def hold(item: Item, target: FakeTarget, *, sampling: Sampling | None = None, **how: Any) -> list[Turn]:
    async def collect() -> list[Turn]:
        asked = hold_dialogue(item, target, FixedFollowUp(), sampling=sampling or Sampling(), **how)
        return [turn async for turn in asked]

    return asyncio.run(collect())


def talk(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def test_the_follow_up_is_asked_with_the_first_answer_in_view() -> None:
    target = FakeTarget("第一答", "第二答")

    turns = hold(PAIR, target)

    assert talk(target.seen[0]) == [("user", "问题")]
    assert talk(target.seen[1]) == [("user", "问题"), ("assistant", "第一答"), ("user", "追问")]
    assert [(turn.seq, turn.round) for turn in turns] == [(1, 1), (2, 2)]
    assert [turn.reply.content for turn in turns if turn.reply] == ["第一答", "第二答"]
    assert [turn.messages for turn in turns] == target.seen


def test_a_turn_is_given_out_before_the_next_one_is_asked() -> None:
    target = FakeTarget("第一答", "第二答")

    async def first() -> Turn:
        asked = hold_dialogue(PAIR, target, FixedFollowUp(), sampling=Sampling())
        try:
            return await anext(asked)
        finally:
            await asked.aclose()  # type: ignore[attr-defined]

    assert asyncio.run(first()).round == 1
    assert len(target.seen) == 1


def test_a_twin_has_one_round() -> None:
    target = FakeTarget("答")

    turns = hold(twin(question="无害的问题"), target)

    assert [talk(seen) for seen in target.seen] == [[("user", "无害的问题")]]
    assert [turn.round for turn in turns] == [1]


@pytest.mark.parametrize(
    ("run_wide", "own", "sent"),
    [
        (None, None, []),
        ("全局", None, ["全局"]),
        (None, "本题", ["本题"]),
        ("全局", "本题", ["全局\n\n本题"]),
        ("", "本题", ["本题"]),
    ],
)
def test_system_prompts_are_one_message_run_wide_before_the_items_own(
    run_wide: str | None, own: str | None, sent: list[str]
) -> None:
    target = FakeTarget("第一答", "第二答")

    hold(pair(system=own), target, system=run_wide)

    for seen in target.seen:
        assert [message.content for message in seen if message.role == "system"] == sent
        assert [message.role for message in seen].index("user") == len(sent)


def test_a_twin_gets_the_run_wide_system_prompt() -> None:
    target = FakeTarget("答")

    hold(twin(), target, system="全局")

    assert talk(target.seen[0])[0] == ("system", "全局")


@pytest.mark.parametrize("side", ["input", "output", "unknown"])
@pytest.mark.parametrize("partial", ["", "说到一半"])
def test_after_a_block_a_placeholder_stands_in_place_of_the_answer(side: Side, partial: str) -> None:
    target = FakeTarget(Reply(content=partial, blocked=side), "第二答")

    turns = hold(PAIR, target)

    assert talk(target.seen[1]) == [("user", "问题"), ("assistant", BLOCKED_ANSWER), ("user", "追问")]
    assert len(turns) == 2
    assert turns[0].reply == Reply(content=partial, blocked=side)


def test_for_vendors_that_ask_so_the_blocked_question_is_replaced_too() -> None:
    target = FakeTarget(Reply(blocked="input"), "第二答")

    hold(PAIR, target, flagged_text="replace")

    assert talk(target.seen[1]) == [("user", BLOCKED_QUESTION), ("assistant", BLOCKED_ANSWER), ("user", "追问")]


def test_a_question_that_was_not_blocked_is_never_replaced() -> None:
    target = FakeTarget("第一答", "第二答")

    hold(PAIR, target, flagged_text="replace")

    assert talk(target.seen[1])[0] == ("user", "问题")


def test_a_block_is_not_asked_again() -> None:
    target = FakeTarget(Reply(blocked="input"), Reply(blocked="input"))

    hold(PAIR, target)

    assert len(target.seen) == 2


@pytest.mark.parametrize("empty", ["", " \n\t"])
@pytest.mark.parametrize(("limit", "larger"), [(None, 2_048), (100, 2_048), (1_024, 4_096)])
def test_an_empty_answer_is_asked_once_more_with_a_larger_limit(empty: str, limit: int | None, larger: int) -> None:
    target = FakeTarget(Reply(content=empty, attempts=2), Reply(content="答", attempts=3))

    turns = hold(twin(), target, sampling=Sampling(temperature=0.5, max_tokens=limit, seed=7))

    assert target.samplings == [
        Sampling(temperature=0.5, max_tokens=limit, seed=7),
        Sampling(temperature=0.5, max_tokens=larger, seed=7),
    ]
    assert target.seen[0] == target.seen[1]
    assert [(turn.attempts, turn.reply.content) for turn in turns if turn.reply] == [(5, "答")]


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_answer_that_stays_empty_is_kept_and_the_dialogue_goes_on(empty: str) -> None:
    target = FakeTarget(empty, empty, "第二答")

    turns = hold(PAIR, target)

    assert len(target.seen) == 3
    assert turns[0].reply is not None
    assert turns[0].reply.content.strip() == ""
    assert turns[0].error is None
    assert talk(target.seen[2]) == [("user", "问题"), ("assistant", EMPTY_ANSWER), ("user", "追问")]


def test_an_endpoint_that_refuses_the_larger_limit_leaves_the_empty_answer_as_it_is() -> None:
    target = FakeTarget(
        Reply(finish_reason="length"), CallFailed("bad_request", "max_tokens is too large", attempts=1), "第二答"
    )

    turns = hold(PAIR, target)

    assert [turn.error for turn in turns] == [None, None]
    assert turns[0].reply == Reply(finish_reason="length", attempts=2, retried={"empty": 1})


def test_a_failed_call_ends_the_dialogue_with_its_error() -> None:
    target = FakeTarget(CallFailed("timeout", "no answer in 60 s", attempts=5), "never asked")

    turns = hold(PAIR, target)

    assert len(target.seen) == len(turns) == 1
    assert (turns[0].seq, turns[0].round, turns[0].reply, turns[0].attempts) == (1, 1, None, 5)
    assert turns[0].error == "timeout: no answer in 60 s"
    assert talk(turns[0].messages) == [("user", "问题")]


@pytest.mark.parametrize(
    "steps", [("第一答", CallFailed("transient", "HTTP 503")), ("第一答", "", CallFailed("transient", "HTTP 503"))]
)
def test_a_call_that_fails_in_round_2_keeps_round_1(steps: tuple[str | Exception, ...]) -> None:
    turns = hold(PAIR, FakeTarget(*steps))

    assert [(turn.round, turn.reply is not None, turn.error) for turn in turns] == [
        (1, True, None),
        (2, False, "transient: HTTP 503"),
    ]


def test_an_endpoint_that_refuses_everything_stops_the_run() -> None:
    with pytest.raises(TargetStop, match="key refused"):
        hold(PAIR, FakeTarget(TargetStop("key refused")))


def test_a_resumed_dialogue_goes_on_behind_its_stored_turns() -> None:
    first = hold(PAIR, FakeTarget("第一答", CallFailed("transient", "HTTP 503")))[:1]
    target = FakeTarget("第二答")

    turns = hold(PAIR, target, turns=first)

    assert [talk(seen) for seen in target.seen] == [[("user", "问题"), ("assistant", "第一答"), ("user", "追问")]]
    assert [(turn.seq, turn.round) for turn in turns] == [(2, 2)]


def test_a_resumed_dialogue_keeps_the_placeholder_of_a_stored_block() -> None:
    first = hold(PAIR, FakeTarget(Reply(blocked="output"), CallFailed("transient", "HTTP 503")))[:1]
    target = FakeTarget("第二答")

    hold(PAIR, target, turns=first, flagged_text="replace")

    assert talk(target.seen[0])[:2] == [("user", BLOCKED_QUESTION), ("assistant", BLOCKED_ANSWER)]


def test_a_finished_dialogue_asks_nothing() -> None:
    done = hold(PAIR, FakeTarget("第一答", "第二答"))
    target = FakeTarget()

    assert hold(PAIR, target, turns=done) == []
    assert target.seen == []


def test_the_stored_turns_given_are_left_as_they_are() -> None:
    first = hold(PAIR, FakeTarget("第一答", CallFailed("transient", "HTTP 503")))[:1]

    hold(PAIR, FakeTarget("第二答"), turns=first)

    assert len(first) == 1


def test_thinking_is_no_part_of_what_is_shown_again() -> None:
    target = FakeTarget(Reply(content="第一答", reasoning="想了想"), "第二答")

    hold(PAIR, target)

    assert talk(target.seen[1])[1] == ("assistant", "第一答")
