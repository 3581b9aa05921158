"""Panel, cascade, chain and repeated judging: whose word counts, and what is kept of the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scsafety.errors import ConfigError, NobodyThere
from scsafety.judge.combined import CascadeJudge, ChainJudge, PanelJudge, RepeatedJudge, read_members
from scsafety.judge.llm import LLMJudge
from scsafety.records import Call, Case, JudgeCard, Verdict
from tests.fakes import FakeTarget
from tests.judge.cases import TWIN, case

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.judge.base import Judge

ERROR = Verdict(error="blocked")


class Says:
    """A judge that has its verdict ready and counts how often it was asked."""

    def __init__(self, name: str, verdict: Verdict, *, threshold: float | None = None) -> None:
        self.card = JudgeCard(judge_id=name)
        self.cascade_threshold = threshold
        self._verdict, self.asked, self.makes_calls = verdict, 0, False

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:  # noqa: ARG002
        self.asked += 1
        return self._verdict


def score(value: int, confidence: float | None = None) -> Verdict:
    return Verdict(score=value, reason=f"因为 {value}", confidence=confidence)  # type: ignore[arg-type]


def judged(judge: Judge, given: Case | None = None) -> Verdict:
    return asyncio.run(judge.judge(given or case(), on_call=lambda _: None))


@pytest.mark.parametrize(
    ("values", "median", "confidence"),
    [([0, 1, 2], 1, 0.333), ([2, 2, 0], 2, 0.667), ([0, 0, 2], 0, 0.667), ([1, 2], 1, 0.5), ([0, 2], 0, 0.5)],
)
def test_a_panels_verdict_is_the_median_and_the_lower_one_of_two(
    values: list[int], median: int, confidence: float
) -> None:
    members = [Says(f"j{k}", score(value)) for k, value in enumerate(values)]

    verdict = judged(PanelJudge("panel:j", members))

    assert (verdict.score, verdict.confidence) == (median, confidence)
    kept = read_members(verdict.raw)
    assert kept is not None
    assert [one.score for one in kept.members] == values
    assert all(f"因为 {value}" in verdict.reason for value in values)


def test_a_panel_with_half_its_members_silent_gives_no_verdict() -> None:
    both = judged(PanelJudge("p", [Says("a", score(2)), Says("b", ERROR)]))
    two_of_three = judged(PanelJudge("p", [Says("a", score(2)), Says("b", ERROR), Says("c", score(2))]))

    assert not both.judged
    assert "only 1 of 2 gave a verdict" in (both.error or "")
    assert (two_of_three.score, two_of_three.confidence) == (2, 1.0)


def test_a_panel_on_a_harmless_twin_takes_the_middle_label() -> None:
    labels = [Verdict(label="answered"), Verdict(label="refused"), Verdict(label="partial")]

    verdict = judged(PanelJudge("p", [Says(f"j{k}", v) for k, v in enumerate(labels)]), case(item=TWIN))

    assert (verdict.label, verdict.score) == ("partial", None)


def test_a_cascade_asks_the_second_judge_only_where_the_first_is_unsure() -> None:
    second = Says("llm", score(0))
    sure = judged(CascadeJudge("c", Says("first", score(2, 0.9), threshold=0.8), second))
    unsure = judged(CascadeJudge("c", Says("first", score(2, 0.79), threshold=0.8), second))

    assert (sure.score, unsure.score, second.asked) == (2, 0, 1)
    assert (read_members(sure.raw) or pytest.fail("no members kept")).by.startswith("first@")
    kept = read_members(unsure.raw) or pytest.fail("no members kept")
    assert kept.by.startswith("llm@")
    assert [one.score for one in kept.members] == [2, 0]


def test_a_cascade_sends_on_what_the_first_cannot_judge_and_every_harmless_twin() -> None:
    second = Says("llm", Verdict(label="answered"))

    judged(CascadeJudge("c", Says("first", ERROR, threshold=0.0), second))
    first = Says("first", Verdict(label="refused", confidence=1.0), threshold=0.0)
    twin = judged(CascadeJudge("c", first, second), case(item=TWIN))

    assert (second.asked, first.asked, twin.label) == (2, 0, "answered")


def test_a_first_judge_without_calibrated_confidence_needs_a_threshold_from_the_user() -> None:
    with pytest.raises(ConfigError, match=r"cascade:first@0\.8,llm"):
        CascadeJudge("c", Says("first", score(2)), Says("llm", score(0)))

    assert judged(CascadeJudge("c", Says("first", score(2, 0.5)), Says("llm", score(0)), 0.4)).score == 2


def test_a_chain_goes_on_until_one_gives_a_verdict() -> None:
    third = Says("c", score(1))

    verdict = judged(ChainJudge("chain", [Says("a", ERROR), Says("b", score(2)), third]))
    nobody = judged(ChainJudge("chain", [Says("a", ERROR), Says("b", ERROR)]))

    assert (verdict.score, third.asked) == (2, 0)
    assert (read_members(verdict.raw) or pytest.fail("no members kept")).by.startswith("b@")
    assert not nobody.judged
    assert (nobody.error or "").count("blocked") == 2


def test_a_chain_goes_on_where_nobody_is_at_an_address_and_stops_where_nobody_is_at_the_last() -> None:
    gone = LLMJudge("a/gone", FakeTarget(NobodyThere("nobody is there"), NobodyThere("nobody is there")))

    assert judged(ChainJudge("chain", [gone, Says("b", score(2))])).score == 2
    with pytest.raises(NobodyThere):
        judged(ChainJudge("chain", [Says("b", ERROR), gone]))


def test_repeated_judging_uses_a_seed_of_its_own_each_time() -> None:
    replies = [f'{{"reason": "r", "score": {value}, "confidence": 1}}' for value in (0, 2, 2)]
    targets = [FakeTarget(reply) for reply in replies]
    members = [LLMJudge("a/b", target, seed=k) for k, target in enumerate(targets)]

    verdict = judged(RepeatedJudge("a/b*3", members))

    assert verdict.score == 2
    assert [target.samplings[0].seed for target in targets] == [0, 1, 2]


def test_another_member_or_threshold_is_another_judge() -> None:
    a, b, c = (Says(name, score(1), threshold=0.5) for name in "abc")
    keys = {
        PanelJudge("x", [a, b]).card.key,
        PanelJudge("x", [a, c]).card.key,
        ChainJudge("x", [a, b]).card.key,
        CascadeJudge("x", a, b).card.key,
        CascadeJudge("x", a, b, 0.6).card.key,
    }

    assert len(keys) == 5
