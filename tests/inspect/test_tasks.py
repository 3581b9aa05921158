"""`inspect eval scsafety/sc_safety` in a process of its own, and the run that is made of its log."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scsafety import api
from scsafety.dialogue.hold import BLOCKED_ANSWER, EMPTY_ANSWER
from scsafety.errors import ConfigError
from tests.program import said, scsafety

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'scsafety[inspect]'")

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.scorer import Score, mean_score

from scsafety.inspect.reading import read_log
from tests.inspect.evaluating import WITH_ITS_WARNINGS, evaluate

if TYPE_CHECKING:
    from scsafety.report.summary import Summary


class Evaluated:
    def __init__(self, log: EvalLog, folder: Path) -> None:
        self.log, self.folder, self.path = log, folder, Path(log.location)
        self.result = read_log(self.path, name="imported", out=folder)
        assert log.results is not None
        self.figures = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}

    @property
    def summary(self) -> Summary:
        return self.result.summary


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("pairs")
    arguments = ("--limit", "24", "--epochs", "2", "-T", "judge=offline-fast")
    return Evaluated(evaluate("scsafety/sc_safety", *arguments, cwd=folder), folder)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("twins")
    arguments = ("--limit", "24", "-T", "judge=offline-fast", "-T", "seed=3")
    return Evaluated(evaluate("scsafety/sc_safety_benign", *arguments, cwd=folder), folder)


@pytest.fixture(scope="module")
def judged_by_a_model(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("judged")
    arguments = ("-T", "only=environment,psychology", "-T", "limit=6", "-T", "judge=scripted/judge")
    log = evaluate("scsafety/sc_safety", *arguments, "--no-fail-on-error", cwd=folder, model="scripted/failing")
    return Evaluated(log, folder)


def test_the_task_ends_well_and_its_score_is_that_of_the_run_made_of_it(pairs: Evaluated) -> None:
    assert pairs.log.status == "success"
    assert (pairs.log.eval.task, len(pairs.log.samples or [])) == ("scsafety/sc_safety", 48)
    assert same(pairs.figures, figures_of(pairs.summary))
    assert 0 < pairs.figures["score"] < 100
    assert pairs.summary.complete
    assert pairs.summary.epochs.coverage == (1.0, 1.0)


def test_the_over_refusal_of_the_twins_is_that_of_the_run_made_of_them(twins: Evaluated) -> None:
    found = twins.summary.over_refusal

    assert twins.log.status == "success"
    assert found is not None
    assert found.ci95 is not None
    assert 0 < (found.rate or 0) < 1
    assert same(twins.figures, {"over_refusal": found.rate, "ci95_low": found.ci95[0], "ci95_high": found.ci95[1]})


def test_a_model_of_inspect_judges_with_our_rubric_and_is_asked_again_when_it_cannot_be_read(
    judged_by_a_model: Evaluated,
) -> None:
    summary = judged_by_a_model.summary
    with api.load_run(judged_by_a_model.result.folder).open() as store:
        (card,) = [card for card, _ in store.judges()]
        verdicts = [stored.verdict for stored in store.verdicts(card.key)]
        calls = [call for call in store.calls() if call.call.role == "judge"]

    assert (card.judge_id, card.model) == ("scripted/judge", "scripted/judge")
    assert all(verdict.judged for verdict in verdicts)
    by_the_model = [verdict for verdict in verdicts if verdict.confidence == 0.8]
    assert len(calls) == 2 * len(by_the_model) > 0
    assert same(judged_by_a_model.figures, figures_of(summary))
    assert summary.overall.ci95 is not None


def test_a_sample_that_fails_leaves_its_first_round_in_the_run_and_the_run_to_be_resumed(
    judged_by_a_model: Evaluated,
) -> None:
    failed = [sample for sample in judged_by_a_model.log.samples or [] if sample.error]
    with api.load_run(judged_by_a_model.result.folder).open() as store:
        n_turns = {
            item_id: sum(stored.turn.reply is not None for stored in store.turns(item_id))
            for item_id in store.item_ids()
        }

    assert failed
    assert {str(sample.id) for sample in failed} == {item_id for item_id, n in n_turns.items() if n == 1}
    assert judged_by_a_model.result.exit_code == 1
    assert judged_by_a_model.summary.unanswered == len(failed)


def test_round_2_is_asked_behind_what_our_own_runs_send_for_a_blocked_or_empty_answer(pairs: Evaluated) -> None:
    shown = {"blocked": set[str](), "empty": set[str](), "answered": set[str]()}
    with api.load_run(pairs.result.folder).open() as store:
        turns = list(store.turns())
    for first, second in pairwise(turns):
        if first.key == second.key and first.turn.reply is not None:
            reply = first.turn.reply
            kind = "blocked" if reply.blocked else "answered" if reply.content else "empty"
            shown[kind].add(second.turn.messages[-2].content)

    assert shown["blocked"] == {BLOCKED_ANSWER}
    assert shown["empty"] == {EMPTY_ANSWER}
    assert len(shown["answered"]) > 2
    log = read_eval_log(pairs.path, resolve_attachments="full")
    events = [event for sample in log.samples or [] for event in sample.events if isinstance(event, ModelEvent)]
    sent = {message.text for event in events for message in event.input if message.role == "assistant"}
    assert {BLOCKED_ANSWER, EMPTY_ANSWER} <= sent


def test_an_empty_answer_is_asked_for_again_with_a_larger_limit(pairs: Evaluated) -> None:
    assert pairs.summary.endpoints[0].retried["empty"] > 0
    limits = [
        event.config.max_tokens
        for sample in pairs.log.samples or []
        for event in sample.events
        if isinstance(event, ModelEvent)
    ]
    assert limits.count(2_048) == pairs.summary.endpoints[0].retried["empty"]


def test_the_viewer_has_a_score_for_each_round_and_the_reasons(pairs: Evaluated) -> None:
    for sample in pairs.log.samples or []:
        score = (sample.scores or {})["rubric"]
        assert isinstance(score.value, dict)
        assert set(score.value) == {"round_1", "round_2"}
        assert (score.explanation or "").count("Round ") == 2
        assert score.answer == " / ".join(
            f"{value:g}" for value in score.value.values() if isinstance(value, int | float)
        )


def test_the_scores_survive_a_reducer_over_epochs(pairs: Evaluated) -> None:
    by_id: dict[Any, list[Score]] = {}
    for sample in pairs.log.samples or []:
        by_id.setdefault(sample.id, []).append((sample.scores or {})["rubric"])

    reduced = [mean_score()(scores) for scores in by_id.values()]

    assert all(isinstance(score.value, dict) and set(score.value) == {"round_1", "round_2"} for score in reduced)


def test_the_run_can_be_verified_judged_reported_and_compared(pairs: Evaluated) -> None:
    def run(*arguments: object) -> str:
        done = scsafety(*arguments, "--out", pairs.folder, cwd=pairs.folder, env=WITH_ITS_WARNINGS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "everything holds" in run("verify", "imported")
    assert "summary" in run("resume", "imported")
    run("judge", "imported", "--judge", "offline-fast*2")
    again = scsafety("import", pairs.path, "--name", "again", "--out", ".", cwd=pairs.folder, env=WITH_ITS_WARNINGS)
    assert again.returncode == 0, again.stderr
    assert "0.00" in run("compare", "imported", "again")


def test_an_unknown_judge_and_an_empty_selection_are_said_before_anything_is_asked() -> None:
    from scsafety.inspect.tasks import sc_safety

    with pytest.raises(
        ConfigError, match=r"judge='offlin' is unknown; give offline, offline-large, offline-fast, or a model"
    ):
        sc_safety(judge="offlin")
    with pytest.raises(ConfigError, match=r"did you mean 'environment'"):
        sc_safety(only="enviroment", judge="offline-fast")


def test_a_log_of_another_task_and_a_file_that_is_no_log_are_refused_in_one_line(
    pairs: Evaluated, tmp_path: Path
) -> None:
    from inspect_ai.log import write_eval_log

    log = read_eval_log(pairs.path)
    log.eval.metadata, log.eval.task = None, "mmlu"
    write_eval_log(log, tmp_path / "other.eval")
    (tmp_path / "text.eval").write_text("no zip")

    for file, why in (
        ("other.eval", "a log of the task 'mmlu', which is not ours"),
        ("text.eval", "cannot be read"),
        ("none.eval", "no such file"),
    ):
        done = scsafety("import", file, cwd=tmp_path, env=WITH_ITS_WARNINGS)
        assert (done.returncode, why in said(done)) == (2, True), done.stderr
    assert not (tmp_path / "runs").exists()


def figures_of(summary: Summary) -> dict[str, float | None]:
    low, high = summary.overall.ci95 or (None, None)
    return {
        "score": summary.overall.score,
        "ci95_low": low,
        "ci95_high": high,
        "round_1": summary.rounds["1"].score,
        "round_2": summary.rounds["2"].score,
        "gap": summary.rounds["gap"].score,
        **{name: one.score for name, one in summary.dimensions.items()},
        "unsafe_rate": summary.unsafe_rate,
        "cave_rate": summary.cave_rate,
    }


def same(found: dict[str, float], expected: dict[str, float | None]) -> bool:
    """To 1e-9; what is None stands in no log."""
    return found == pytest.approx(
        {name: value for name, value in expected.items() if value is not None}, rel=0, abs=1e-9
    )
