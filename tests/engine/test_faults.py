"""A night of vendor trouble: every pair ends answered, blocked or counted as unanswered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scsafety import api
from scsafety.bank import load_bank, select_items
from scsafety.engine.settings import Policy
from scsafety.errors import TargetStop
from tests.scripted_server import ScriptedServer, completion

if TYPE_CHECKING:
    from pathlib import Path

TRANSIENT = ("429", "500", "cut", "truncated", "html", "hang", "408", "409", "425", "503", "504", "529")
BLOCKED = {"deepseek_block": "unknown", "dashscope_block": "input", "content_filter": "output"}
SOON = Policy(concurrency=16, timeout_s=0.4, max_attempts=3)


@pytest.fixture
def questions() -> list[str]:
    return [item.question for item in select_items(load_bank(), limit=1)]


def run(server: ScriptedServer, out: Path, **given: Any) -> api.RunResult:
    settings: dict[str, Any] = {
        "base_url": server.base_url,
        "judge": "offline-fast",
        "limit": 1,
        "out": out,
        "name": "faults",
        **given,
    }
    return api.run("openai-compatible/x", policy=SOON, **settings)


def test_every_transient_fault_costs_a_retry_and_no_answer(tmp_path: Path, questions: list[str]) -> None:
    faults = {question: [TRANSIENT[k % len(TRANSIENT)]] for k, question in enumerate(questions)}

    with ScriptedServer(faults=faults) as server:
        result = run(server, tmp_path)

    assert result.exit_code == 0
    assert result.summary.overall.n == 48
    assert result.summary.usage["target"].attempts == 48 + len(questions)
    assert len(server.bodies) == 48 + len(questions)


def test_a_block_is_an_answer_that_is_counted_scored_as_a_bare_refusal_and_never_retried(
    tmp_path: Path, questions: list[str]
) -> None:
    names = list(BLOCKED)
    faults = {question: [names[k % 3]] for k, question in enumerate(questions)}

    with ScriptedServer(faults=faults) as server:
        result = run(server, tmp_path)
    summary = result.summary

    assert result.exit_code == 0
    assert len(server.bodies) == 48
    assert (summary.blocked.input, summary.blocked.output, summary.blocked.unknown) == (8, 8, 8)
    with api.load_run(result.folder).open() as store:
        blocked = store.query(
            "SELECT DISTINCT score FROM turn JOIN verdict_of_turn USING (pair_id, round) WHERE blocked IS NOT NULL"
        )
        placeholders = store.query("SELECT count(*) FROM turn WHERE round = 2 AND messages LIKE '%被平台安全审核拦截%'")
    assert blocked == [(1,)]
    assert placeholders == [(24,)]
    assert summary.rounds["1"].score == 50.0
    assert summary.model_written.n == 24


def test_a_question_that_zhipu_blocked_is_not_sent_again_as_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: list[str]
) -> None:
    monkeypatch.setenv("ZHIPUAI_API_KEY", "id.of-no-worth")

    with ScriptedServer(faults={question: ["zhipu_block"] for question in questions}) as server:
        result = api.run(
            "zhipu/glm-4", policy=SOON, base_url=server.base_url, judge="offline-fast", limit=1, out=tmp_path
        )
        second = [body["messages"] for body in server.bodies if body["messages"][-1]["content"] not in questions]

    assert result.exit_code == 0
    assert result.summary.blocked.input == len(second) == 24
    assert not any(
        question in message["content"] for messages in second for message in messages for question in questions
    )
    assert all("提问被平台安全审核拦截" in messages[-3]["content"] for messages in second)


def test_what_never_answers_is_counted_as_unanswered_with_exit_code_1_and_resume_finishes_it(
    tmp_path: Path, questions: list[str]
) -> None:
    lost = {question: [TRANSIENT[k % len(TRANSIENT)]] * SOON.max_attempts for k, question in enumerate(questions[:6])}

    with ScriptedServer(faults=lost) as server:
        result = run(server, tmp_path)
        assert result.exit_code == 1
        assert result.summary.unanswered == 12  # round 2 cannot be asked without round 1
        assert result.summary.overall.coverage == 36 / 48
        n_asked = len(server.bodies)

        again = api.resume(result.folder, policy=SOON)

        assert len(server.bodies) == n_asked + 12
    assert again.exit_code == 0
    assert again.summary.unanswered == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", "SCSAFETY_API_KEY"), ("403", "SCSAFETY_API_KEY"), ("402", "balance"), ("404", "check the model's name")],
)
def test_an_endpoint_that_refuses_us_as_a_whole_stops_the_run_at_once(tmp_path: Path, fault: str, words: str) -> None:
    with ScriptedServer(always=fault) as server:
        with pytest.raises(TargetStop, match=words) as caught:
            run(server, tmp_path)
        assert caught.value.exit_code == 4
        assert len(server.bodies) <= SOON.concurrency
        server.always = None

        result = api.resume(tmp_path / "faults", policy=SOON)

    assert result.exit_code == 0


def test_a_conversation_that_does_not_fit_fails_with_its_kind_and_is_not_tried_again(
    tmp_path: Path, questions: list[str]
) -> None:
    with ScriptedServer(faults={question: ["too_long"] * 9 for question in questions[:3]}) as server:
        result = run(server, tmp_path)

        assert len(server.bodies) == 48 - 3  # nothing twice, and no second round
    assert result.exit_code == 1
    assert result.summary.unanswered == 6
    with api.load_run(result.folder).open() as store:
        assert [one.calls for one in store.call_counts() if one.outcome == "too_long"] == [3]
        assert store.query("SELECT DISTINCT attempts, substr(error, 1, 45) FROM turn WHERE error IS NOT NULL") == [
            (1, "too_long: context_length_exceeded: This model")
        ]


@pytest.mark.parametrize(
    "reply",
    [
        completion(None),  # type: ignore[arg-type]
        completion(None, "tool_calls", tool_calls=[{"id": "1", "function": {"name": "search"}}]),  # type: ignore[arg-type]
        completion("", "length", reasoning_content="想"),
    ],
    ids=["null", "tool call", "cut in its thinking"],
)
def test_a_reply_without_text_is_asked_for_once_more_and_then_counts_as_empty(
    tmp_path: Path, reply: dict[str, object]
) -> None:
    with ScriptedServer(lambda _: reply) as server:
        result = run(server, tmp_path, only=["environment-001"], limit=None)

        assert [body.get("max_tokens") for body in server.bodies] == [None, 2_048] * 2
    assert result.exit_code == 0
    with api.load_run(result.folder).open() as store:
        assert [(one.outcome, one.calls) for one in store.call_counts() if one.role == "target"] == [("empty", 2)]
        assert store.query("SELECT DISTINCT answer, score FROM turn JOIN verdict_of_turn USING (pair_id, round)") == [
            ("", 1)
        ]


def test_an_answer_cut_at_its_limit_is_judged_and_known_as_cut(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: completion("建议先和对方沟通，再", "length")) as server:
        result = run(server, tmp_path, only=["environment-001"], limit=None)

        assert len(server.bodies) == 2
    with api.load_run(result.folder).open() as store:
        assert store.query("SELECT DISTINCT finish_reason FROM turn") == [("length",)]


def test_an_answer_of_a_megabyte_goes_through_the_whole_run(tmp_path: Path) -> None:
    said = "长" * 350_000
    with ScriptedServer(lambda _: said) as server:
        result = run(server, tmp_path, only=["environment-001"], limit=None)

    assert result.exit_code == 0
    with api.load_run(result.folder).open() as store:
        assert store.query("SELECT length(answer) FROM turn") == [(350_000,)] * 2


def test_a_burst_of_blocks_with_a_blocked_control_question_pauses_the_run(tmp_path: Path) -> None:
    with ScriptedServer(always="content_filter") as server:
        with pytest.raises(TargetStop, match="harmless control question was blocked"):
            run(server, tmp_path, limit=3)
        assert len(server.bodies) < 100


def test_a_refused_parameter_is_dropped_once_and_recorded(tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        return f"建议先沟通，注意风险。{len(messages)}"

    refusals: list[str] = []

    class Picky(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            body = await request.json()
            if "temperature" in body:
                refusals.append(body["messages"][-1]["content"])
                return web.json_response(
                    {
                        "error": {
                            "message": "Unsupported parameter",
                            "param": "temperature",
                            "code": "unsupported_parameter",
                        }
                    },
                    status=400,
                )
            return await super()._respond(request)

    with Picky(answer) as server:
        result = run(server, tmp_path, temperature=0.5)

        assert result.exit_code == 0
        assert 1 <= len(refusals) <= SOON.concurrency
    with api.load_run(result.folder).open() as store:
        assert store.meta("refused_parameters") == '["temperature"]'


def test_thinking_is_kept_apart_and_thinking_that_never_closes_is_an_empty_answer(
    tmp_path: Path, questions: list[str]
) -> None:
    endless = questions[0]

    def answer(messages: list[dict[str, str]]) -> str | dict[str, object]:
        if messages[-1]["content"] == endless:
            return completion("<think>想来想去", "length")
        return "<think>他想骗人</think>不行，这会伤人。建议去社区求助。"

    with ScriptedServer(answer) as server:
        result = run(server, tmp_path)

    with api.load_run(result.folder).open() as store:
        rows = store.query("SELECT answer, reasoning, count(*) FROM turn GROUP BY answer, reasoning ORDER BY 3")
        empty = store.query("SELECT score FROM verdict_of_turn JOIN turn USING (pair_id, round) WHERE answer = ''")
    assert rows == [("", "想来想去", 1), ("不行，这会伤人。建议去社区求助。", "他想骗人", 47)]
    assert empty == [(1,)]


def test_the_judge_sees_the_thinking_only_when_asked_to(tmp_path: Path) -> None:
    seen: list[str] = []

    def judge(messages: list[dict[str, str]]) -> str:
        seen.append(messages[-1]["content"])
        return '{"reason": "看过", "score": 1, "confidence": 1}'

    with ScriptedServer(lambda _: "<think>他想骗人</think>不行。") as server, ScriptedServer(judge) as judging:
        address = {"judge": "openai-compatible/j", "judge_base_url": judging.base_url}
        result = run(server, tmp_path, only=["environment-001"], limit=None, **address)
        assert not any("他想骗人" in prompt for prompt in seen)

        api.judge_run(result.folder, "openai-compatible/j+thinking", judge_base_url=judging.base_url)

    assert sum("他想骗人" in prompt for prompt in seen) == 2
    with api.load_run(result.folder).open() as store:
        assert sorted(card.judge_id for card, _ in store.judges()) == [
            "openai-compatible/j",
            "openai-compatible/j+thinking",
        ]


def test_no_more_requests_are_in_flight_than_asked_for(tmp_path: Path) -> None:
    with ScriptedServer(latency_s=0.02) as server:
        api.run(
            "openai-compatible/x",
            policy=Policy(concurrency=3),
            base_url=server.base_url,
            judge="offline-fast",
            limit=1,
            out=tmp_path,
        )

        assert server.most_in_flight == 3


def test_an_llm_judge_judges_every_turn_and_what_it_garbles_is_unjudged_not_guessed(
    tmp_path: Path, questions: list[str]
) -> None:
    def judge(messages: list[dict[str, str]]) -> str:
        return (
            "我觉得不错"
            if questions[0] in messages[-1]["content"]
            else '{"reason": "稳妥", "score": 2, "confidence": 0.9}'
        )

    with ScriptedServer() as server, ScriptedServer(judge) as judging:
        result = run(server, tmp_path, judge="openai-compatible/j", judge_base_url=judging.base_url)

    assert result.exit_code == 1
    assert result.summary.unjudged == 2  # both rounds show the question
    assert result.summary.labels == {"0": 0, "1": 0, "2": 46}
    assert result.summary.overall.score == 100.0
    assert result.summary.usage["judge"].calls == 46 + 2 * 2
