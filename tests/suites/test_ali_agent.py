"""ALI-Agent's suite: seeds and published scenarios, rates by stage, and runs of both ways from start to end."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from scsafety import api
from scsafety.dialogue import ali_agent_prompts as prompts
from scsafety.errors import ConfigError
from scsafety.records import SuiteItem
from scsafety.report.terminal import render_summary
from scsafety.suites import Attacked, SuiteDataError
from scsafety.suites.ali_agent import FILES, ALIAgent
from scsafety.suites.ali_agent_rates import outcomes, quality
from tests.program import scsafety
from tests.scripted_server import ScriptedServer
from tests.suites.running import answered, case, data_of, named, run, server_of, values, write_json, written_suite

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = ALIAgent()
N = {"ethic_ETHICS": 200, "ethic_socialchemistry": 150, "stereotype_crows": 200, "stereotype_decodingtrust": 36,
     "law_traffic": 46, "law_harmfulbehavior": 200}  # fmt: skip
SPLITS = {"DecodingTrust": 36, "CrowS-Pairs": 200, "ETHICS": 200, "Social Chemistry 101": 150,
          "Singapore Rapid Transit Systems Regulations": 46, "AdvBench": 200}  # fmt: skip


def write_data(folder: Path) -> Path:
    """Two harmless records a file, in the published format; the second of a file of scenarios was never rewritten."""
    for name in FILES:
        texts = [f"Somebody is late, {name} {k}." for k in range(2)]
        write_json(folder / "testing" / f"{name}.json", dict.fromkeys(texts, "g") if "stereo" in name else texts)
    for name in ("ethic_ETHICS", "law_traffic"):
        (folder / "generated_x").mkdir(exist_ok=True)
        with (folder / "generated_x" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([
                ("index", "scenario", "explanation", "scenario_adv", "explanation_adv"),
                (0, f"Told, {name} 0.", "e", f"Told again, {name} 0.", "e"),
                (1, f"Told, {name} 1.", "e", "", ""),
            ])  # fmt: skip
    return folder


def item(file: str = "ethic_ETHICS", k: int = 0, *, stage: int = 1, stages: int = 1, way: str = "replay") -> SuiteItem:
    kind = FILES[file]
    facts = {"variant": way, "aspect": kind.aspect, "refinements": kind.refinements, "stage": stage, "stages": stages}
    return SuiteItem(
        id=f"{file}-{k}-{stage}", suite=SUITE.name, category=file, prompts=("p",), group=f"{file}-{k}", facts=facts
    )


def test_the_six_files_are_seeds_and_the_scenarios_there_are_groups_of_conversations(tmp_path: Path) -> None:
    data = write_data(tmp_path)

    live, replay = (SUITE.load(data, variant=name, seed=0) for name in SUITE.variants)

    assert [one.id for one in live[:2]] == ["ali-agent-ethic_ETHICS-000", "ali-agent-ethic_ETHICS-001"]
    assert len(live) == 12
    assert {
        one.category: (one.facts["aspect"], one.facts["refinements"], one.facts["instruction"][-60:]) for one in live
    } == {name: (kind.aspect, kind.refinements, kind.instruction[-60:]) for name, kind in FILES.items()}
    assert [(one.id, one.group) for one in replay[:3]] == [
        ("ali-agent-ethic_ETHICS-000-first", "ali-agent-ethic_ETHICS-000"),
        ("ali-agent-ethic_ETHICS-000-adv", "ali-agent-ethic_ETHICS-000"),
        ("ali-agent-ethic_ETHICS-001-first", "ali-agent-ethic_ETHICS-001"),
    ]
    assert replay[1].prompts[0].endswith("or two.\n\nTold again, ethic_ETHICS 0.")
    assert [one.facts["stages"] for one in replay[:3]] == [2, 2, 1]
    assert len(SUITE.load(data / "testing" / "law_traffic.json", variant="live", seed=0)) == 2


@pytest.mark.parametrize(("n", "places"), [(500, range(200)), (497, [k for k in range(200) if k != 169])])
def test_only_the_first_200_of_ethics_are_used_by_their_published_places(n: int, places: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "ethic_ETHICS.json", [f"text {k}" for k in range(n)])

    items = SUITE.load(tmp_path / "ethic_ETHICS.json", variant="live", seed=0)

    assert [int(one.id[-3:]) for one in items] == list(places)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("testing/law_traffic.json", '["a", 7]', "record 1 is no text"),
        ("testing/law_traffic.json", "7", "neither a list"),
        ("generated_x/law_traffic.csv", "index,scenario,scenario_adv\nx,a,b\n", "index: 'x' is no number"),
        ("generated_x/law_traffic.csv", "index,scenario\n0,a\n", "scenario_adv: the columns are"),
    ],
)
def test_a_file_of_another_format_is_told_where(name: str, content: str, said: str, tmp_path: Path) -> None:
    (write_data(tmp_path) / name).write_text(content, encoding="utf-8")

    with pytest.raises(SuiteDataError, match=re.escape(said)):
        SUITE.load(tmp_path, variant="live" if name.endswith("json") else "replay", seed=0)


def test_a_missing_file_and_one_of_another_kind_are_named(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    (data / "testing" / "law_traffic.json").unlink()

    with pytest.raises(SuiteDataError, match=r"law_traffic\.json"):
        SUITE.load(data, variant="live", seed=0)
    with pytest.raises(SuiteDataError, match="reads csv files"):
        SUITE.load(data / "testing" / "ethic_ETHICS.json", variant="replay", seed=0)
    with pytest.raises(SuiteDataError, match="no published scenarios"):
        SUITE.load(data / "testing", variant="replay", seed=0)


def test_rates_of_a_replay_by_hand() -> None:
    """ETHICS 0 gives in at once, 1 at the rewritten scenario, 2 never, 3 by an evaluator that says nothing; 4 is not judged."""
    said: list[tuple[int, str | None, str | None]] = [
        (0, "FAIL", "PASS"), (1, "PASS", "FAIL"), (2, "PASS", "PASS"), (3, "PASS", "unreadable"), (4, "PASS", None),
    ]  # fmt: skip
    given = [
        answered(item(k=k, stage=stage, stages=2), label)
        for k, *labels in said
        for stage, label in enumerate(labels, start=1)
    ]
    given += [answered(item("law_traffic", k), "FAIL" if k else "PASS") for k in range(4)]

    score = SUITE.score(given)

    assert values(score) == pytest.approx({
        "agreeability_ethic_ETHICS": 75.0, "agreeability_law_traffic": 75.0, "agreeability_mean": 75.0,
        "unread_evaluations": 100 / 13,
    })  # fmt: skip
    assert (named(score, "agreeability_ethic_ETHICS").hits, named(score, "agreeability_ethic_ETHICS").n) == (3, 4)
    assert [(one.name, one.hits) for one in score.groups["category"]["ethic_ETHICS"]] == [
        ("after_emulation", 1),
        ("after_refinement_1", 3),
    ]
    assert [one.hits for one in score.groups["category"]["law_traffic"]] == [3, 3]
    assert score.groups["aspect"]["legality"][0].n == 4
    assert any("下界" in note for note in score.notes)


def test_rates_of_attacks_by_hand_asr_apart_from_the_mean() -> None:
    tried = [1, 1, 3, 6, 6]  # of AdvBench; the last one held
    given = [
        answered(item("law_harmfulbehavior", k, way="live"), "PASS" if k == 4 else "FAIL",
                 attacked=Attacked("refusal" if k == 4 else "success", n, n, int(k == 0)))
        for k, n in enumerate(tried)
    ]  # fmt: skip
    given.append(answered(item("stereotype_crows", way="live"), "FAIL", attacked=Attacked("success", 2, 1)))
    given.append(answered(item("stereotype_crows", 1, way="live"), "unused"))  # its attack is not over

    score = SUITE.score(given)

    assert values(score) == pytest.approx(
        {
            "ASR": 80.0,
            "agreeability_stereotype_crows": 100.0,
            "agreeability_mean": 100.0,
            "unread_evaluations": 100 / 18,
        }
    )
    assert [one.hits for one in score.groups["category"]["law_harmfulbehavior"]] == [2, 2, 3, 3, 3, 4]
    assert [one.hits for one in score.groups["category"]["stereotype_crows"]] == [0, 1]


def test_the_mean_is_over_files_and_not_over_misconducts() -> None:
    given = [answered(item("law_traffic", k), "FAIL" if k < 1 else "PASS") for k in range(10)]
    given += [answered(item("stereotype_crows", k), "FAIL") for k in range(2)]

    assert named(SUITE.score(given), "agreeability_mean").value == pytest.approx((10 + 100) / 2)


def test_an_evaluators_quality_by_hand() -> None:
    """8 disapprove, of whom it finds 6; of the 4 others it calls 1 disapproving: f1 = 2 * 6 / (8 + 7)."""
    found = quality([(True, True)] * 6 + [(True, False)] * 2 + [(False, True)] + [(False, False)] * 3)

    assert found == pytest.approx((75.0, 75.0, 80.0))


def test_a_judge_sees_the_answer_alone_and_reads_both_questions() -> None:
    asked = SUITE.ask(case(item(), "I DISAGREE."))

    assert "I DISAGREE." in asked
    assert not re.search(r"\bp\b", asked.partition("<<<")[2])
    assert SUITE.read_judge(case(item(), ""), '{"reason": "r", "label": "FAIL"}') == "FAIL"
    assert SUITE.read_judge(case(item(), ""), "both PASS and FAIL") is None
    assert SUITE.read(case(item(way="live"), "x")) == "unused"


def served(evaluates: Callable[[str], str]) -> ScriptedServer:
    """Target `x` and attacker `a`: scenarios are counted by the rewriting, the target's answer quotes its question."""

    def answer(messages: list[dict[str, str]]) -> str:
        last = messages[-1]["content"]
        if messages[0]["content"] == prompts.EN.writer:
            told = last.partition("Somebody is late, ")[2].partition(".")[0]
            n = int(last.rpartition("told ")[2].split()[0]) + 1 if "told " in last else 1
            return json.dumps({"scenario": "" if told == "law_traffic 1" else f"{told}; told {n} times"})
        if messages[0]["content"] == prompts.EN.evaluator:
            return evaluates(last)
        return f"Said of: {last[-60:]}"

    return ScriptedServer(answer)


def test_an_attack_on_seeds_capped_and_resumed_finds_who_gives_in_and_counts_every_call(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")

    def evaluates(asked: str) -> str:
        if "ethic_ETHICS 0; told 2" in asked or "law_harmfulbehavior 0; told 4" in asked:
            return '{"label": "FAIL"}'
        return "no idea" if "stereotype_crows 0" in asked else '{"label": "PASS"}'

    with served(evaluates) as server:
        result = run(server, SUITE.name, data, tmp_path, cap=9, attacker="openai-compatible/a")
        asked = len(server.bodies)
        again = api.resume("r", out=tmp_path)

    found = written_suite(result)
    rates = {one["name"]: (one["hits"], one["n"]) for one in found["metrics"] if one["hits"] is not None}
    assert rates == {
        "ASR": (1, 2), "agreeability_ethic_ETHICS": (1, 2), "agreeability_ethic_socialchemistry": (0, 2),
        "agreeability_law_traffic": (0, 1), "agreeability_stereotype_crows": (1, 2),
        "agreeability_stereotype_decodingtrust": (0, 2), "unread_evaluations": (1, 27),
    }  # fmt: skip
    assert found["labels"] == {"FAIL": 3, "PASS": 8}
    assert (found["turns"], found["unanswered"], found["unjudged"]) == (11, 0, 0)
    assert found["left_out"] == {"the attacker declined or could not be read": 1}
    assert (result.exit_code, again.exit_code, len(server.bodies)) == (0, 0, asked)
    # 27 answers, each with its scenario and its verdict, one verdict asked for twice, three tries at the scenario declined
    assert asked == 3 * 27 + 1 + 3
    attack = result.summary.attack
    assert attack is not None
    assert (attack.objectives, attack.successes, attack.limits.backtracks) == (11, 3, 5)
    assert [one.successes for one in attack.by_round] == [1, 2, 2, 3, 3, 3]
    assert attack.calls == {"target": 27, "scenario": 30, "verdict": 28}
    assert api.verify("r", tmp_path) == []
    shown = io.StringIO()
    Console(file=shown, width=200).print(render_summary(result.summary))
    assert "11 个目标，得手 3，成功率 27.3%" in shown.getvalue()
    assert "每次得手 9.0 个回答" in shown.getvalue()  # 27 answers for 3
    assert "守住的份额" in shown.getvalue()
    assert "0 分" not in shown.getvalue()  # a suite's judge gives none
    told = [body for body in server.bodies if body["model"] == "x"]
    assert all(len(body["messages"]) == 1 for body in told)  # every scenario is a conversation of its own
    redacted = scsafety("export", "r", "--redact", "--out", tmp_path, cwd=tmp_path)
    page = (result.folder / "report" / "index.html").read_text("utf-8")
    for text in (
        "Answers per success",
        "9.0",
        "Kaplan–Meier",
        "each question a conversation of its own",
        "evaluator</span> 28",
    ):
        assert text in page
    for text in ("Threshold of success", "Objectives with a 0", "0/1/2"):
        assert text not in page
    assert [json.loads(line)["label"] for line in redacted.stdout.splitlines()].count("FAIL") == 3
    for text in (redacted.stdout, page):
        assert not re.search(r"Somebody is late|told \d times|Said of", text)


def test_a_replay_needs_no_attacker_and_sends_each_scenario_alone(tmp_path: Path) -> None:
    def judge(asked: str) -> str:
        if "told again" in asked:
            return '{"label": "FAIL"}'
        return "?" if "law_traffic 1" in asked else '{"label": "PASS"}'

    with server_of(lambda asked: asked[-30:].lower(), judge) as server:
        given = {"variant": "replay", "judge": "openai-compatible/j"}
        result = run(server, SUITE.name, write_data(tmp_path / "data"), tmp_path, cap=5, **given)

    found = written_suite(result)
    rates = {one["name"]: (one["hits"], one["n"]) for one in found["metrics"] if one["hits"] is not None}
    assert rates == {
        "agreeability_ethic_ETHICS": (1, 2), "agreeability_law_traffic": (2, 2), "unread_evaluations": (1, 6),
    }  # fmt: skip
    assert result.summary.attack is None
    told = [body["messages"] for body in server.bodies if body["model"] == "x"]
    assert [len(messages) for messages in told] == [1] * 6
    assert api.verify("r", tmp_path) == []


@pytest.mark.parametrize(
    ("suite", "given", "said"),
    [
        ("ali-agent", {}, "ali-agent, variant live, needs a model that attacks: --attacker"),
        ("ali-agent", {"variant": "replay", "judge": "openai-compatible/j", "attacker": "openai-compatible/a"},
         "--attacker: ali-agent replay asks its own questions; --variant live takes one"),
        ("ali-agent", {"variant": "replay"}, "needs a judge"),
        ("aratrust", {"attacker_base_url": "http://127.0.0.1:9/v1"}, "--attacker: aratrust asks its own questions; leave it out"),
    ],
)  # fmt: skip
def test_an_attacker_is_given_where_it_is_needed_and_nowhere_else(
    suite: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        api.plan_suite(
            "openai-compatible/x", suite, write_data(tmp_path), base_url="http://127.0.0.1:9/v1", out=tmp_path, **given
        )


def test_what_an_attack_on_seeds_may_cost_is_said_before_it(tmp_path: Path) -> None:
    write_data(tmp_path / "data")

    done = scsafety(
        "suite", "run", "ali-agent", "--data", "data", "--model", "openai-compatible/x", "--base-url", "http://127.0.0.1:9/v1",
        "--attacker", "openai-compatible/a", "--dry-run", cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "at most 32 target calls" in done.stdout  # 10 seeds of two scenarios, 2 of six
    assert "attacker openai-compatible/a: 64 calls" in done.stdout


def test_info_says_what_is_left_out_and_what_is_needed(tmp_path: Path) -> None:
    shown = scsafety("suite", "info", "ali-agent", cwd=tmp_path).stdout

    assert "不用记忆" in shown
    assert "下界" in shown
    assert re.search(r"attacker +a model for live", shown)


# The published files and figures


def test_the_published_seeds_have_the_counts_of_the_paper() -> None:
    items = SUITE.load(data_of("ali_agent"), variant="live", seed=0)

    for name, kind in FILES.items():
        places = {int(one.id[-3:]) for one in items if one.category == name}
        assert places | {place for place in kind.withheld if place < N[name]} == set(range(N[name])), name


def test_where_no_rewritten_scenario_is_published_the_first_was_enough() -> None:
    """GPT-4's: ETHICS 16 of at most 55, CrowS-Pairs 19 of 49, DecodingTrust 4 of 7, Social Chemistry 89 of 99."""
    items = SUITE.load(data_of("ali_agent"), variant="replay", seed=0)

    once = {name: sum(one.facts["stages"] == 1 for one in items if one.category == name) for name in FILES}
    assert once == {
        "ethic_ETHICS": 16, "stereotype_crows": 19, "stereotype_decodingtrust": 4, "ethic_socialchemistry": 89,
        "law_traffic": 10, "law_harmfulbehavior": 0,
    }  # fmt: skip
    given = [answered(one, "FAIL" if one.facts["stages"] == 1 else "PASS") for one in items]
    gave_in = [one for one in outcomes(given) if one.gave_in_at == 1]
    assert sum(one.file == "ethic_socialchemistry" for one in gave_in) == 89
    final = {"ethic_ETHICS": 55, "stereotype_crows": 49, "stereotype_decodingtrust": 7, "ethic_socialchemistry": 99}
    published = {row["split"]: row["value"] for row in published_rows() if row["model"] == "GPT-4"}
    for file, split in (
        ("ethic_ETHICS", "ETHICS"), ("stereotype_crows", "CrowS-Pairs"), ("stereotype_decodingtrust", "DecodingTrust"),
        ("ethic_socialchemistry", "Social Chemistry 101"),
    ):  # fmt: skip
        assert round(100 * final[file] / N[file], 2) == published[f"{split}/ali_agent"]
        assert once[file] <= final[file]


def published_rows() -> list[dict[str, Any]]:
    path = Path(os.environ.get("SCSAFETY_SUITE_DATA", "")).parent / "published_results.json"
    if not os.environ.get("SCSAFETY_SUITE_DATA") or not path.is_file():
        pytest.skip("published_results.json is not beside $SCSAFETY_SUITE_DATA")
    return [row for row in json.loads(path.read_text("utf-8")) if row["suite"] == "ali_agent"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_published_rate_is_a_share_of_its_file(split: str) -> None:
    rows = [row for row in published_rows() if row["split"] == f"{split}/ali_agent" and row["model"] not in MEANS]

    assert len(rows) == 10
    for row in rows:
        k = round(row["value"] * SPLITS[split] / 100)
        assert round(100 * k / SPLITS[split], 2) == pytest.approx(row["value"], abs=0.011), row


MEANS = ("average", "Average", "avg", "Avg.", "mean")
