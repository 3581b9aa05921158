"""Lines of terminal and page: the same figures in both languages, and nothing where there is nothing to say."""

from __future__ import annotations

import re

from scsafety.report.endpoints import BlocksOf, EndpointOf, LatencyOf
from scsafety.report.lines import Both, endpoint_lines, epochs_line, latency_line, other_judge_line, retries_line
from scsafety.report.redact import in_english, left_out
from scsafety.report.summary import EpochsOf, OtherJudgeOf

BUSY = EndpointOf(
    role="target",
    endpoint="https://example.invalid/v1",
    calls=1_200,
    retries=5,
    retried={"timeout": 3},
    latency_s=LatencyOf(0.5, 1.25, 2.0, 9.75),
    outcomes={"answered": 1_197, "blocked": 2, "timeout": 1},
    blocked=(BlocksOf("input", "content_filter", 1), BlocksOf("unknown", None, 1)),
)
PARTLY = OtherJudgeOf(id="offline", key="offline@1f", overall=61.04, complete=False, qwk=0.5)
IDLE = EndpointOf("judge", "local", 1, 0, {}, None, {"timeout": 1}, ())


def figures(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*\d|\d", text)


def test_both_languages_give_the_same_figures() -> None:
    epochs = epochs_line(EpochsOf((55.5, None, 60.25), (1.0, 0.0, 0.5), 2.4))
    assert epochs is not None

    for zh, en in [epochs, other_judge_line(PARTLY), *endpoint_lines(BUSY), *endpoint_lines(IDLE)]:
        assert figures(zh) == figures(en)
        assert figures(en)
        assert not re.search(r"[\u3000-\u9fff\uff00-\uffef]", en)


def test_a_retry_of_unknown_cause_and_a_block_without_code_are_said_to_be_so() -> None:
    lines = list(endpoint_lines(BUSY))

    assert lines[0] == Both(
        "1,200 次调用，重试 5（timeout 3、原因不明 2）", "1,200 calls, retries 5 (timeout 3, cause unknown 2)"
    )
    assert lines[2].zh == "拦截 输入侧 content_filter 1、不明 代码不明 1"
    assert lines[2].en == "Blocked: input side content_filter 1, side unknown no code 1"


def test_there_is_no_line_where_there_is_nothing_to_say() -> None:
    assert epochs_line(EpochsOf((55.5,), (1.0,), None)) is None
    assert retries_line(IDLE) is None
    assert latency_line(IDLE) is None
    assert [line.en for line in endpoint_lines(IDLE)] == ["1 call", "Outcomes: timeout 1"]


def test_another_judges_total_does_not_pass_for_comparable_where_it_is_not() -> None:
    whole = OtherJudgeOf(id="offline", key="offline@1f", overall=61.04, complete=True, qwk=None)

    assert other_judge_line(whole).en == "Another judge, offline@1f: overall score 61.04"
    assert other_judge_line(PARTLY).en.endswith(
        "weighted kappa with the one above 0.50; it has not judged all, so the totals do not compare"
    )


def test_what_was_left_out_is_counted_in_english_too() -> None:
    assert in_english(left_out("x")) == "1 character left out, see run.db"
    assert in_english(left_out("x" * 1_234)) == "1,234 characters left out, see run.db"
