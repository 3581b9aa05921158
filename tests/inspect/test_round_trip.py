"""A run, its Inspect log, and the run of that log: nothing is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from scsafety import api
from scsafety.errors import ConfigError
from scsafety.records import Call, DialogueKey, JudgeCard, Message, Reply, Step, Turn, Verdict
from tests.engine.test_attacks import Attacked, number
from tests.engine.test_attacks import run as attacked
from tests.program import said, scsafety
from tests.report.build import WHEN, Said, built_run, pair, twin
from tests.report.hostile import MEGABYTE, TEXTS
from tests.suites.running import run as of_suite
from tests.suites.running import server_of, write_json

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'scsafety[inspect]'")

from inspect_ai.log import read_eval_log, write_eval_log

from scsafety.inspect import export_run, import_log
from tests.inspect.evaluating import WITH_ITS_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scsafety.records import Item, Score

SECOND = JudgeCard(
    judge_id="deepseek/deepseek-chat", model="deepseek/deepseek-chat", parameters={"temperature": 0.0, "seed": 0}
)
PERSON = JudgeCard(judge_id="human/li")
# every table, without the numbers that SQLite gives its rows
DIALOGUE = "d.item_id, d.epoch, d.strategy, d.attempt"
CONTENT = {
    "item": "SELECT item_id, content_hash, kind, dimension, sub_dimension, position, json FROM item ORDER BY position",
    "dialogue": f"SELECT {DIALOGUE}, d.status, d.ended FROM dialogue d ORDER BY 1, 2, 3, 4",
    "exchange": f"SELECT {DIALOGUE}, seq, round, kept, messages, answer, reasoning, finish_reason, blocked, latency_s, "
    "prompt_tokens, completion_tokens, attempts, error, created_at FROM exchange JOIN dialogue d USING (dialogue_id) "
    "ORDER BY 1, 2, 5",
    "call": f"SELECT {DIALOGUE}, seq, role, judge_key, endpoint, outcome, attempts, latency_s, prompt_tokens, completion_tokens, "
    "model, request_id, fingerprint, raw, created_at, retried FROM call LEFT JOIN dialogue d USING (dialogue_id) "
    "ORDER BY call_id",
    "judge": "SELECT * FROM judge ORDER BY judge_key",
    "verdict": f"SELECT {DIALOGUE}, seq, judge_key, repeat, score, label, v.reason, v.confidence, v.error, v.raw, v.created_at "
    "FROM verdict v JOIN exchange USING (exchange_id) JOIN dialogue d USING (dialogue_id) ORDER BY 1, 2, 5, 6, 7",
    "step": f"SELECT {DIALOGUE}, seq, kind, number, asked, said, blocked, found, created_at FROM step "
    "JOIN dialogue d USING (dialogue_id) ORDER BY 1, 2, step_id",
    "meta": "SELECT key, value FROM meta WHERE key NOT IN ('name', 'reported') ORDER BY key",
}


def dialogues() -> list[tuple[Item, Sequence[Said]]]:
    """Two epochs of everything that can become of a dialogue."""
    answered = [Said(score=2), Said("不行。", score=1, reasoning="想一想", finish_reason="length")]
    found: list[tuple[Item, Sequence[Said]]] = []
    hostile = [*TEXTS.values(), MEGABYTE, "a\x00b", "half \ud800 of a pair", "attachment://" + "0" * 32, "NaN", "1e999"]
    for k, text in enumerate(hostile, start=1):
        item = pair("environment", k, system="你是园丁。" if k == 1 else None)
        found += [
            (item, [Said(text, score=0, reason=text[:200]), Said(text, score=1, confidence=None)]),
            (item, answered),
        ]
    endings: list[list[Said]] = [
        [Said("", score=1), Said("好", score=2)],
        [Said("", blocked="input", score=1), Said("半句", blocked="output", score=0)],
        [Said(error="timeout: nobody answered")],
        [Said(score=2), Said(error="bad_request: 400 \x1b[31m")],
        [Said(judge_error="the judge's reply could not be read", reason=""), Said(score=2)],
        [Said(), Said()],  # not judged yet
    ]
    for k, ending in enumerate(endings, start=1):
        found += [(pair("psychology", k), ending), (pair("psychology", k), answered)]
    for k, label in enumerate(("answered", "partial", "refused", "blocked"), start=1):
        found += [(twin("environment", k), [Said(label=label)])] * 2  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    out = tmp_path_factory.mktemp("runs")
    with built_run(out / "one" / api.DB_NAME, dialogues(), epochs=2, system=None, run="one") as (store, _):
        key = DialogueKey("environment-001", 2)
        for judge, primary in ((SECOND, False), (PERSON, False)):
            store.add_judge(judge, primary=primary)
        store.add_verdict(key, 1, SECOND.key, Verdict(score=1, raw='{"score": 1}', created_at=WHEN))
        labels: tuple[Score | None, ...] = (0, 2, None)
        for repeat, score in enumerate(labels, start=1):
            store.add_verdict(
                key, 1, PERSON.key, Verdict(score=score, repeat=repeat, raw='{"plan": "x"}', created_at=WHEN)
            )  # type: ignore[arg-type]
        taken_back = Turn(
            seq=3,
            round=None,
            kept=False,
            messages=(Message("user", "再说说"),),
            reply=Reply(content="不"),
            created_at=WHEN,
        )
        store.add_turn(key, taken_back)
        store.add_step(
            key,
            Step(
                seq=3,
                kind="refusal",
                asked="拒绝了吗",
                said="是",
                found={"refused": True, "x": [1, None]},
                created_at=WHEN,
            ),
        )
        store.set_status(key, "done", "rounds")
        call = Call(
            role="judge", endpoint="deepseek/deepseek-chat", outcome="blocked_input", attempts=3, latency_s=1 / 3,
            retried={"rate_limited": 2}, prompt_tokens=10, completion_tokens=0, model="m", request_id="r", fingerprint="f",
            raw='{"error": {"code": "filtered"}}', created_at=WHEN,
        )  # fmt: skip
        store.add_call(key, 1, call, judge_key=SECOND.key)
        store.set_meta("refused_parameters", '["seed"]')
        api.finish(store, out / "one")
    return api.load_run(out / "one")


@pytest.fixture(scope="module")
def back(run: api.Run, tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return there_and_back(run, tmp_path_factory.mktemp("back"))


def there_and_back(run: api.Run, folder: Path) -> api.Run:
    export_run(run, folder / "log.eval")
    return api.load_run(import_log(folder / "log.eval", name="two", out=folder).folder)


def contents(run: api.Run) -> dict[str, list[tuple[object, ...]]]:
    with run.open() as store:
        return {table: store.query(sql) for table, sql in CONTENT.items()}


@pytest.mark.parametrize("table", CONTENT)
def test_every_row_comes_back(run: api.Run, back: api.Run, table: str) -> None:
    expected = contents(run)[table]

    assert contents(back)[table] == expected
    assert expected


def test_every_turn_text_and_verdict_comes_back_as_the_store_gives_it(run: api.Run, back: api.Run) -> None:
    with run.open() as one, back.open() as two:
        assert list(two.turns(taken_back=True)) == list(one.turns(taken_back=True))
        assert len(list(one.turns())) > 100
        for card, _ in one.judges():
            expected = {(stored.key, stored.seq): stored.verdict for stored in one.verdicts(card.key)}
            assert {(stored.key, stored.seq): stored.verdict for stored in two.verdicts(card.key)} == expected


def test_every_figure_of_the_summary_comes_back(run: api.Run, back: api.Run) -> None:
    assert msgspec.structs.replace(back.summary, run="one") == run.summary
    assert run.summary.unanswered == 3
    assert api.verify(back.folder) == []


def test_the_log_shows_both_rounds_the_verdicts_and_the_failures(run: api.Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "log.eval")
    log = read_eval_log(tmp_path / "log.eval")

    samples = {(sample.id, sample.epoch): sample for sample in log.samples or []}
    sample = samples["environment-001", 2]
    assert [message.role for message in sample.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert sample.messages[-1].text == "不行。"
    scores = sample.scores or {}
    assert scores["offline"].value == {"round_1": 2, "round_2": 1}
    assert "Round 1: 2. 给出了可行的办法 (confidence 0.90)" in (scores["offline"].explanation or "")
    assert set(scores) == {"offline", "deepseek/deepseek-chat", "human/li"}
    assert (samples["psychology-003", 1].error or log.error).message == "timeout: nobody answered"  # type: ignore[union-attr]
    assert (log.status, log.eval.model) == ("cancelled", run.summary.target)
    assert log.results is not None
    assert log.results.scores[0].metrics["score"].value == run.summary.overall.score


def test_an_item_that_was_never_asked_comes_back_too(tmp_path: Path) -> None:
    asked, waiting = pair("environment"), pair("psychology")
    with built_run(tmp_path / "one" / api.DB_NAME, [(asked, [Said(score=2)] * 2), (waiting, [])], run="one") as (
        store,
        _,
    ):
        api.finish(store, tmp_path / "one")
    run = api.load_run(tmp_path / "one")

    assert msgspec.structs.replace(there_and_back(run, tmp_path).summary, run="one") == run.summary


def test_an_attack_comes_back_with_its_steps_and_what_was_taken_back(tmp_path: Path) -> None:
    with Attacked(
        refuses=lambda asked: number(asked) == 2, value=lambda asked: 90 if number(asked) > 3 else 10
    ) as server:
        attacked(server, tmp_path / "one", n=2, epochs=2, attack_rounds=4, attack_backtracks=2)
    run = api.load_run(tmp_path / "one" / "r")

    back = there_and_back(run, tmp_path)

    assert run.summary.attack is not None
    assert contents(back) == contents(run)
    assert len(contents(run)["step"]) > len(contents(run)["exchange"]) > 8
    assert msgspec.structs.replace(back.summary, run=run.summary.run) == run.summary


def test_a_suites_run_comes_back(tmp_path: Path) -> None:
    infos = [{"id": k, "question": f"第 {k} 题？\nA. 是\nB. 否", "category": "年龄歧视"} for k in (1, 2, 3)]
    write_json(tmp_path / "data/mcq.json", [{"category": "歧视性内容", "infos": infos}])
    write_json(tmp_path / "data/answers.json", dict.fromkeys("123", "A"))
    with server_of(lambda asked: "答案：B" if "第 2 题" in asked else "答案：A", lambda _: "") as server:
        of_suite(server, "chisafetybench", tmp_path / "data", tmp_path / "one", variant="mcq")
    run = api.load_run(tmp_path / "one" / "r")

    back = there_and_back(run, tmp_path)

    assert run.summary.suite is not None
    assert contents(back) == contents(run)
    assert msgspec.structs.replace(back.summary, run=run.summary.run) == run.summary


def test_the_commands_write_and_read_a_log_and_refuse_what_would_lose_something(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    failed = [Said(score=2), Said(error="timeout: nobody answered")]
    with built_run(elsewhere / "one" / api.DB_NAME, [(pair("psychology"), failed)], run="one") as (store, _):
        api.finish(store, elsewhere / "one")

    def call(*arguments: object, out: Path = tmp_path) -> tuple[int, str]:
        done = scsafety(*arguments, "--out", out, cwd=tmp_path, env=WITH_ITS_WARNINGS)
        return done.returncode, done.stdout if done.returncode in (0, 1) else said(done)

    assert call("export", "one", "--format", "inspect", out=elsewhere) == (0, "wrote one.eval\n")
    assert call("import", "one.eval")[0] == 1  # a turn is unanswered, as it was
    assert "one exists already" in call("import", "one.eval")[1]
    assert call("import", "one.eval", "--name", "other")[0] == 1
    assert "leave it out" in call("export", "one", "--format", "inspect", "--redact", out=elsewhere)[1]
    assert "ends in .eval" in call("export", "one", "--format", "inspect", "--to", "one.zip", out=elsewhere)[1]


def test_a_log_that_was_edited_into_nonsense_is_refused_and_leaves_no_run(run: api.Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "log.eval")
    log = read_eval_log(tmp_path / "log.eval")
    for sample in log.samples or []:
        sample.metadata["scsafety"]["turns"] = []
    write_eval_log(log, tmp_path / "log.eval")

    with pytest.raises(
        ConfigError, match=r"log\.eval: .* has a verdict on an answer that it has not\); was it edited\?"
    ):
        import_log(tmp_path / "log.eval", name="two", out=tmp_path)

    assert not (tmp_path / "two").exists()
