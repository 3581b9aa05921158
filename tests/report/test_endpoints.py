"""What the summary says of each endpoint, against what the server did and against plain SQL; and the spread of epochs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.records import Call
from scsafety.report.page import read_dialogues, render_page
from scsafety.report.summary import summarise
from scsafety.report.terminal import facts
from tests.report.build import WHEN, Said, built_run
from tests.report.build import pair as built_pair
from tests.scripted_server import ScriptedServer, completion, default_answer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scsafety.report.endpoints import EndpointOf
    from scsafety.store import Store

ENDLESS = ["500"] * 99


class Picky(ScriptedServer):
    """Refuses the parameter `top_p`."""

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if "top_p" in await request.json():
            error = {"message": "Unsupported parameter", "param": "top_p", "code": "unsupported_parameter"}
            return web.json_response({"error": error}, status=400)
        return await super()._respond(request)


def answer(messages: list[dict[str, str]]) -> str | dict[str, Any]:
    """The ninth question gets no text, however often it is asked."""
    if messages[-1]["content"] == pair(9).question:
        return completion("", "length")
    return default_answer(messages)


def judged(_: list[dict[str, str]]) -> str:
    return json.dumps({"reason": "因为", "score": 1, "label": "answered", "confidence": 0.5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    bank = write_bank(out / "bank.jsonl", [*(pair(n) for n in range(1, 10)), twin(1)])
    faults = {
        pair(1).question: ["429", "500"],
        pair(2).question: ["429"],
        pair(3).question: ENDLESS,
        pair(4).question: ["deepseek_block"],
        pair(5).question: ["500", "dashscope_block"],
        pair(6).question: ["content_filter"],
        pair(6).follow_up: ["content_filter"],
        twin(1).question: ["zhipu_block"],
    }
    with Picky(answer, faults=faults) as server, ScriptedServer(judged) as judging:
        # one at a time: each fault meets the call that it is meant for, and only one meets the refused parameter
        result = api.run(
            "openai-compatible/x",
            base_url=server.base_url,
            judge="openai-compatible/j",
            judge_base_url=judging.base_url,
            bank=[bank],
            top_p=0.9,
            out=out,
            name="r",
            policy=Policy(concurrency=1, max_attempts=3),
        )
    return result.folder


@pytest.fixture
def endpoints(folder: Path) -> list[EndpointOf]:
    return list(api.load_run(folder).summary.endpoints)


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with api.load_run(folder).open() as opened:
        yield opened


def test_the_target_stands_before_the_judge_and_nobody_else_was_asked(endpoints: list[EndpointOf]) -> None:
    assert [(of.role, of.endpoint) for of in endpoints] == [
        ("target", "openai-compatible/x"),
        ("judge", "openai-compatible/j"),
    ]


def test_every_retry_is_counted_by_what_made_it_so(endpoints: list[EndpointOf]) -> None:
    target, judge = endpoints

    assert target.retried == {
        "rate_limited": 2,
        "transient": 1 + 2 + 1,  # of what was lost in the end two tries came before the last
        "refused_parameter": 1,
        "empty": 1,
    }
    assert target.retries == sum(target.retried.values())
    assert (judge.retries, judge.retried) == (0, {})


def test_every_call_is_counted_by_how_it_ended(endpoints: list[EndpointOf]) -> None:
    target, judge = endpoints

    assert target.outcomes == {"answered": 11, "blocked": 5, "empty": 1, "transient": 1}
    assert sum(target.outcomes.values()) == target.calls == 9 * 2 - 1 + 1
    assert judge.outcomes == {"answered": judge.calls}


def test_blocks_bear_their_side_and_the_vendors_own_word(endpoints: list[EndpointOf]) -> None:
    assert {(of.side, of.code): of.n for of in endpoints[0].blocked} == {
        ("unknown", "invalid_request_error"): 1,
        ("input", "data_inspection_failed"): 1,
        ("output", "content_filter"): 2,
        ("input", "1301"): 1,
    }
    assert endpoints[1].blocked == ()


@pytest.mark.parametrize("share", ["p50", "p90", "p99", "max"])
def test_a_percentile_is_the_least_value_that_so_many_answers_stay_within(
    share: str, endpoints: list[EndpointOf], store: Store
) -> None:
    part = 1.0 if share == "max" else int(share[1:]) / 100
    for of in endpoints:
        rows = store.query(
            "SELECT min(latency_s) FROM (SELECT latency_s, cume_dist() OVER (ORDER BY latency_s) AS within FROM call "  # noqa: S608 (our own labels)
            f"WHERE endpoint = '{of.endpoint}' AND outcome IN ('answered', 'empty')) WHERE within >= {part} - 1e-9"
        )
        assert of.latency_s is not None
        assert rows == [(getattr(of.latency_s, share),)]
        assert getattr(of.latency_s, share) > 0


def test_the_table_in_the_terminal_has_a_line_for_each_endpoint(folder: Path) -> None:
    target, judge = list(facts(api.load_run(folder).summary))[-2:]

    assert target.startswith("被测模型 openai-compatible/x：18 次调用，重试 8（")
    assert "rate_limited 2" in target
    assert re.search(r"延迟 p50 \d+\.\d\d、p90 \d+\.\d\d、p99 \d+\.\d\d、最长 \d+\.\d\d 秒$", target)
    assert "重试" not in judge


def test_the_page_says_it_too(folder: Path) -> None:
    page = (folder / "report/index.html").read_text(encoding="utf-8")

    for words in ("openai-compatible/x", "重试 8（", "输入侧 1301 1", "输出侧 content_filter 2", "延迟 p50"):
        assert words in page


def test_calls_of_an_older_version_have_retries_without_a_cause(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", [(built_pair("environment"), [Said(), Said()])]) as (store, summary):
        call = Call(role="target", endpoint="a/b", outcome="transient", attempts=5, latency_s=0.0, created_at=WHEN)
        store.add_call(None, None, call)
        old = summarise(store, summary.settings, run="r")

    assert old.endpoints[0].latency_s is None
    assert list(facts(old))[-2] == "被测模型 a/b：1 次调用，重试 4（原因不明 4）"


def test_a_vendors_code_is_hostile_text_and_only_read(tmp_path: Path) -> None:
    raw = '{"error": {"code": "<script>alert(1)</script>\\u202e"}}'
    with built_run(tmp_path / "run.db", [(built_pair("environment"), [Said(), Said()])]) as (store, summary):
        call = Call(
            role="target", endpoint="a/b", outcome="blocked_input", attempts=1, latency_s=0.1, raw=raw, created_at=WHEN
        )
        store.add_call(None, None, call)
        blocked = summarise(store, summary.settings, run="r")
        page = render_page(blocked, read_dialogues(store, blocked))

    assert blocked.endpoints[0].blocked[0].code == "<script>alert(1)</script>\u202e"
    assert "输入侧 &lt;script&gt;alert(1)&lt;/script&gt;[U+202E] 1" in page


def test_the_score_of_each_epoch_and_their_standard_deviation(tmp_path: Path) -> None:
    item, other = built_pair("environment"), built_pair("environment", 2)
    first, second = [Said("甲", 2), Said("乙", 2)], [Said("丙", 1), Said("丁", 0)]
    dialogues = [(item, first), (other, first), (item, second), (other, second)]

    with built_run(tmp_path / "run.db", dialogues, epochs=2) as (_, summary):
        pass

    assert summary.epochs.scores == (100.0, 25.0)
    assert summary.epochs.coverage == (1.0, 1.0)
    assert summary.epochs.sd == pytest.approx(75 / 2**0.5)
    assert summary.overall.score == 62.5  # the mean over epochs
    assert "各遍总分 100.00、25.00；各遍之间的标准差 53.03" in list(facts(summary))


def test_an_epoch_that_is_cut_off_says_how_far_it_came(tmp_path: Path) -> None:
    item, other = built_pair("environment"), built_pair("environment", 2)
    whole = [Said("甲", 2), Said("乙", 1)]

    with built_run(tmp_path / "run.db", [(item, whole), (other, whole), (item, whole)], epochs=2) as (_, summary):
        pass

    assert summary.epochs.coverage == (1.0, 0.5)
    assert "各遍总分 75.00、75.00（覆盖 50%）；各遍之间的标准差 0.00" in list(facts(summary))


def test_one_epoch_has_no_spread(tmp_path: Path) -> None:
    with built_run(tmp_path / "run.db", [(built_pair("environment"), [Said("甲", 2), Said("乙", 1)])]) as (_, summary):
        pass

    assert (summary.epochs.scores, summary.epochs.sd) == ((75.0,), None)
    assert not any("各遍" in line for line in facts(summary))
