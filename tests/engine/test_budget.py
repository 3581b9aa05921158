"""Caps on calls and cost: a sitting ends early, loses nothing, and `resume` goes on; prices are the user's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api
from scsafety.engine.settings import Policy
from scsafety.errors import ConfigError
from scsafety.targets.prices import Spent, cost_of, load_prices
from tests.program import scsafety
from tests.scripted_server import ScriptedServer, default_answer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from pathlib import Path

PRICES = """
[[price]]
model = "openai-compatible/x"
input = 1000.0
output = 2000.0
currency = "CNY"
"""  # a scripted answer has 10 + 5 tokens: 0.02 CNY a call


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [*(pair(k) for k in range(1, 11)), twin(1)])


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    monkeypatch.setenv("SCSAFETY_PRICES", str(path))
    return path


def run(server: ScriptedServer, bank: Path, tmp_path: Path, **limits: Any) -> api.RunResult:
    settings: dict[str, Any] = {"base_url": server.base_url, "bank": [bank], "out": tmp_path, "name": "r"}
    policy = Policy(concurrency=4, judge_concurrency=4, **limits)
    return api.run("openai-compatible/x", judge=limits.pop("judge", "offline-fast"), policy=policy, **settings)


@pytest.mark.parametrize("cap", [1, 2, 7, 20])
def test_a_cap_on_calls_is_kept_to_the_call_and_resume_finishes(cap: int, bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        first = run(server, bank, tmp_path, max_calls=cap)
        asked = len(server.bodies)
        again = api.resume("r", out=tmp_path, policy=Policy(max_calls=5))
        asked_again = len(server.bodies) - asked
        last = api.resume("r", out=tmp_path)

    assert asked == cap
    assert asked_again == min(5, 21 - cap)
    assert first.exit_code == 1
    assert first.summary.overall.n + (first.summary.over_refusal.n if first.summary.over_refusal else 0) == cap
    assert again.summary.unanswered < first.summary.unanswered or cap == 20
    assert (last.exit_code, last.summary.overall.n) == (0, 20)
    assert len(server.bodies) == 21  # nothing was asked twice
    assert set(server.asked.values()) == {1}


def test_a_judges_calls_count_too_and_retries_with_them(bank: Path, tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        if "评分员" in messages[0]["content"]:
            return json.dumps({"reason": "r", "score": 1, "label": "answered"})
        return default_answer(messages)

    faults = {pair(1).question: ["500", "429"]}
    with ScriptedServer(answer, faults=faults) as server:
        given: dict[str, Any] = {"base_url": server.base_url, "bank": [bank], "out": tmp_path, "name": "r"}
        first = api.run(
            "openai-compatible/x", judge="openai-compatible/j", policy=Policy(max_calls=12, concurrency=1), **given
        )
        asked = len(server.bodies)
        last = api.resume("r", out=tmp_path)

    assert 12 <= asked <= 14  # the two retries came on top of a call that had been set aside
    assert first.exit_code == 1
    assert last.exit_code == 0
    assert len(server.bodies) == 2 * 21 + 2


def test_of_answers_judged_anew_those_count_as_done_that_have_a_verdict(bank: Path, tmp_path: Path) -> None:
    def answer(_: list[dict[str, str]]) -> str:
        return json.dumps({"reason": "r", "score": 1, "label": "answered"})

    with ScriptedServer() as server, ScriptedServer(answer) as judge:
        run(server, bank, tmp_path)
        counts = []
        for cap in (5, None):
            watch, policy = api.Watch(), Policy(max_calls=cap, judge_concurrency=1)
            api.judge_run(
                "r", "openai-compatible/j", judge_base_url=judge.base_url, policy=policy, watch=watch, out=tmp_path
            )
            counts.append((watch.progress.turns_done, watch.progress.turns_expected))

    assert counts == [(5, 21), (16, 16)]


@pytest.mark.usefixtures("prices")
def test_a_cap_on_cost_stops_by_the_users_prices(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        first = run(server, bank, tmp_path, max_cost=0.1)
        asked = len(server.bodies)
        last = api.resume("r", out=tmp_path)

    assert 5 <= asked <= 5 + 3  # five calls cost 0.10; what was in flight is not cut short
    assert first.exit_code == 1
    assert first.summary.cost is not None
    assert first.summary.cost["amount"] == pytest.approx(0.02 * asked)
    assert last.summary.cost == {"amount": 0.42, "currency": "CNY", "by_role": {"target": 0.42}, "unknown": []}


def test_a_cap_on_cost_with_an_unknown_price_is_refused_before_anybody_is_asked(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server, pytest.raises(ConfigError, match="the price of openai-compatible/x is unknown"):
        run(server, bank, tmp_path, max_cost=1.0)

    assert server.bodies == []
    assert not (tmp_path / "r").exists()


def test_an_unknown_price_is_never_taken_for_nothing(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        result = run(server, bank, tmp_path)

    assert result.summary.cost is None


def test_prices_are_matched_in_order_and_summed_in_one_currency(prices: Path) -> None:
    table = load_prices()
    spent = [Spent("openai-compatible/x", 1, 1_000, 500), Spent("local/y", 1, 9_999, 9_999), Spent("a/b", 1, 1, 1)]

    found = cost_of(spent, table)

    assert (found.amount, found.currency, found.unknown) == (2.0, "CNY", ("a/b",))
    prices.write_text(PRICES + PRICES.replace('compatible/x"', 'compatible/y"').replace("CNY", "USD"))
    both = [Spent("openai-compatible/x", 1, 1, 1), Spent("openai-compatible/y", 1, 1, 1)]
    with pytest.raises(ConfigError, match="CNY and USD"):
        cost_of(both, load_prices())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[price]]\nmodel = 1", "Expected `str`"),
        ("[[price]", "write rows as in the example"),
        ('[[price]]\nmodel = "a/b"\ninput = 1\noutput = 2', "give prices of 0 or more, and a currency"),
        ('[[price]]\nmodel = "a/b"\ninput = -1\noutput = 0\ncurrency = "CNY"', "give prices of 0 or more"),
    ],
)
def test_a_bad_price_table_is_named_with_the_mend(prices: Path, text: str, message: str) -> None:
    prices.write_text(text)

    with pytest.raises(ConfigError, match=message) as refused:
        load_prices()

    assert str(prices) in str(refused.value)


def test_a_dry_run_says_calls_tokens_and_cost_and_asks_nobody(bank: Path, tmp_path: Path, prices: Path) -> None:
    with ScriptedServer() as server:
        done = scsafety(
            "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "openai-compatible/j*3",
            "--bank", bank, "--dry-run", cwd=tmp_path, env={"SCSAFETY_PRICES": str(prices)},
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert server.bodies == []
    target, *judges = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert target.startswith("  target openai-compatible/x: 21 calls")
    assert target.endswith("CNY")
    assert len(judges) == 3
    assert all(line.endswith("price unknown") for line in judges)
    assert not (tmp_path / "runs").exists()


def test_the_command_says_which_cap_ended_it(bank: Path, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = scsafety(
            "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank", bank,
            "--max-calls", "3", "--name", "r", cwd=tmp_path,
        )  # fmt: skip

    assert done.returncode == 1
    assert "--max-calls 3 reached" in done.stderr
    assert "`scsafety resume r` tries them again" in done.stderr


def test_prices_are_shown_with_the_place_for_ones_own(tmp_path: Path) -> None:
    done = scsafety("models", "prices", cwd=tmp_path, env={"SCSAFETY_PRICES": str(tmp_path / "mine.toml")})

    assert done.returncode == 0
    assert "local/*" in done.stdout
    assert f"yours: {tmp_path / 'mine.toml'}" in done.stdout
