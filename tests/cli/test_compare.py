"""`compare` through the real program: differences, gates, what changed, and what cannot be compared."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from scsafety import api, taxonomy
from scsafety.report.comparison import gates
from scsafety.report.junit import junit_xml
from scsafety.report.leaderboard import read_standing, tables_of
from tests.program import scsafety
from tests.report.build import Said, built_run, pair
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair as small_pair
from tests.small_bank import write_bank

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scsafety.records import Score
    from tests.program import Done

SUBS = ("environment", "property_privacy", "goal_hijacking")


def store(tmp_path: Path, name: str, scores: Sequence[tuple[int, int]], **content: Any) -> None:
    held = [
        (
            pair(SUBS[k % 3], k + 1, **content),
            [
                Said(score=cast("Score", one), answer=f"{name} 一 {k}"),
                Said(score=cast("Score", two), answer=f"{name} 二"),
            ],
        )
        for k, (one, two) in enumerate(scores)
    ]
    with built_run(tmp_path / "runs" / name / "run.db", held):
        pass


def compare(tmp_path: Path, *options: object) -> Done:
    return scsafety("compare", "a", "b", "--json", "c.json", *options, cwd=tmp_path)


def found(tmp_path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((tmp_path / "c.json").read_text("utf-8"))
    return record


def test_command_leaderboard_and_comparison_page_state_the_same_figures_of_the_same_two_runs(tmp_path: Path) -> None:
    """Value, interval, p and corrected p, with a third run beside them that shares the page's random signs."""
    rng = np.random.default_rng(0)
    for name, share in (("a", 0.7), ("b", 0.5), ("other", 0.6)):
        store(tmp_path, name, [(int(one), int(two)) for one, two in rng.binomial(2, share, size=(75, 2))])

    done = compare(tmp_path)
    runs = [api.load_run(tmp_path / "runs" / name) for name in ("a", "b", "other")]
    standings = []
    for run in runs:
        with run.open() as held:
            standings.append(read_standing(held, run.summary, run.folder.name))
    (table,) = tables_of(standings)

    assert done.returncode == 0, done.stderr
    differences = found(tmp_path)["differences"]
    pages = [row.page for row in table.ranked]
    k = table.field.found.places.index((pages.index("a"), pages.index("b")))
    beside = next(one for one in table.versus if (one.a, one.b) == ("a", "b"))
    assert beside.ci95 is not None
    assert [-beside.ci95[1], -beside.ci95[0]] == pytest.approx(differences["overall"]["ci95"])
    rows = {"overall": differences["overall"], **differences["dimensions"], **differences["sub_dimensions"]}
    assert len(rows) == 7
    for name, one in rows.items():
        r, of = table.field.found.rows.index(name), table.field.found
        assert one["value"] == pytest.approx(of.value[r, k])
        assert one["ci95"] == pytest.approx([of.low[r, k], of.high[r, k]])
        assert one["p"] == pytest.approx(of.p[r, k])
        assert one["p_holm"] in (None, pytest.approx(of.p_holm[r, k]))


def test_a_worse_run_is_found_and_its_new_dangers_are_named(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 30)
    store(tmp_path, "b", [(2, 0)] * 20 + [(2, 2)] * 10)

    done = compare(tmp_path, "--fail-on-regression")

    record = found(tmp_path)
    assert done.returncode == 3
    assert "b is worse than a" in done.stderr
    assert record["score_a"] == 100.0
    assert record["differences"]["overall"]["value"] < -25
    assert record["differences"]["overall"]["p"] < 0.001
    assert len(record["changed"]) == 20
    assert {(one["change"], one["round"], one["score_a"], one["score_b"]) for one in record["changed"]} == {
        ("newly_unsafe", 2, 2, 0)
    }
    assert record["changed"][0]["answer_a"] == "a 二"
    assert "B 新出现的风险" in done.stdout
    assert "20 处" in done.stdout


def test_chance_is_no_regression_and_a_better_run_passes(tmp_path: Path) -> None:
    store(tmp_path, "a", [(1, 1), (2, 2), (1, 2)] * 8)
    store(tmp_path, "b", [(1, 1), (2, 2), (1, 2)] * 7 + [(2, 1), (2, 2), (1, 1)])

    done = compare(tmp_path, "--fail-on-regression", "--fail-below", "50")

    assert done.returncode == 0, done.stderr
    assert abs(found(tmp_path)["differences"]["overall"]["value"]) < 3


def test_a_gate_on_the_score(tmp_path: Path) -> None:
    store(tmp_path, "a", [(1, 1)] * 6)
    store(tmp_path, "b", [(1, 1)] * 6)

    done = compare(tmp_path, "--fail-below", "50.5")

    assert done.returncode == 3
    assert "b scores 50.00, below --fail-below 50.5" in done.stderr


def test_only_pairs_with_the_same_words_are_compared(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 9)
    store(tmp_path, "b", [(2, 2)] * 6)
    compare(tmp_path)
    assert (found(tmp_path)["n_pairs"], found(tmp_path)["only_a"], found(tmp_path)["only_b"]) == (6, 3, 0)

    store(tmp_path, "c", [(2, 2)] * 6, risk_point="别的风险点")
    done = scsafety("compare", "a", "c", cwd=tmp_path)

    assert done.returncode == 2
    assert "share no pair that both answered" in done.stderr


def test_two_judges_cannot_be_compared(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 3)
    store(tmp_path, "b", [(2, 2)] * 3)
    scsafety("judge", "b", "--judge", "offline-fast", "--primary", cwd=tmp_path)

    done = compare(tmp_path)

    assert done.returncode == 2
    assert "judge both by one" in done.stderr


def test_judges_of_one_name_at_two_addresses_are_told_apart(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.jsonl", [small_pair(1)])
    verdict = '{"reason": "稳妥", "score": 2, "confidence": 1}'
    with ScriptedServer() as target, ScriptedServer(lambda _: verdict) as one, ScriptedServer(lambda _: verdict) as two:
        asked = ["--model", "openai-compatible/x", "--base-url", target.base_url, "--bank", bank]
        for name, at in (("a", one), ("b", two), ("c", one)):
            judge = ["--judge", "openai-compatible/j", "--judge-base-url", at.base_url]
            assert scsafety("run", *asked, *judge, "--name", name, cwd=tmp_path).returncode == 0

    assert "裁判地址 judge address 不同" in compare(tmp_path).stdout
    assert "不同" not in scsafety("compare", "a", "c", cwd=tmp_path).stdout


@pytest.mark.parametrize("missing", ["a", "b"])
def test_a_run_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    store(tmp_path, "b" if missing == "a" else "a", [(2, 2)] * 3)

    done = compare(tmp_path)

    assert done.returncode == 4
    assert f"{missing}: no run there" in done.stderr


def cases(path: Path) -> dict[str, dict[str, ET.Element]]:
    """Test cases by class and name."""
    found: dict[str, dict[str, ET.Element]] = {}
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314 (our own)
        found.setdefault(case.attrib["classname"], {})[case.attrib["name"]] = case
    return found


def test_junit_has_a_case_for_each_gate_board_and_sub_dimension_and_fails_what_got_worse(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 60)
    store(tmp_path, "b", [(2, 2) if k % 3 else (0, 0 if k % 2 else 2) for k in range(60)])  # only in `environment`

    done = compare(tmp_path, "--junit", "out/j.xml", "--fail-below", "10", "--fail-on-regression")

    found = cases(tmp_path / "out/j.xml")
    assert done.returncode == 3
    assert {kind: len(by_name) for kind, by_name in found.items()} == {
        "scsafety.gate": 2,
        "scsafety.board": 4,
        "scsafety.sub_dimension": 3,
    }
    failed = {name for by_name in found.values() for name, case in by_name.items() if case.find("failure") is not None}
    environment, responsible = taxonomy.sub_dimension("environment"), taxonomy.dimensions()[1]
    assert failed == {
        "--fail-on-regression",
        "总分 Overall",
        f"{responsible.zh} {responsible.en}",
        f"{environment.zh} {environment.en}",
    }
    own = found["scsafety.sub_dimension"][f"{environment.zh} {environment.en}"].find("failure")
    assert own is not None
    assert re.fullmatch(
        r"-75\.00 \(95% -\d\d\.\d to -\d\d\.\d\), p 0\.\d{4}, corrected p 0\.\d{4}, 20 pairs", own.attrib["message"]
    )
    (suite,) = ET.parse(tmp_path / "out/j.xml").getroot()  # noqa: S314 (our own)
    assert {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "9",
        "failures": "4",
        "errors": "0",
        "skipped": "0",
    }


def test_a_worse_sub_dimension_fails_its_case_and_not_the_command(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 60)
    store(tmp_path, "b", [(2, 2) if k % 3 else (0, 0) for k in range(60)])

    done = compare(tmp_path, "--junit", "j.xml")

    found = cases(tmp_path / "j.xml")
    assert done.returncode == 0
    assert "scsafety.gate" not in found
    assert sum(case.find("failure") is not None for case in found["scsafety.sub_dimension"].values()) == 1


def test_one_pair_tests_nothing_and_its_case_is_skipped(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 4)
    store(tmp_path, "b", [(0, 0)] * 4)

    compare(tmp_path, "--junit", "j.xml")

    skipped = [
        case.find("skipped") is not None for case in cases(tmp_path / "j.xml")["scsafety.sub_dimension"].values()
    ]
    assert sorted(skipped) == [False, True, True]  # two of the sub-dimensions have one pair


def test_junit_of_hostile_names_is_sound_xml(tmp_path: Path) -> None:
    store(tmp_path, "a", [(2, 2)] * 6)
    store(tmp_path, "b", [(1, 1)] * 6)
    found = api.compare("a", "b", tmp_path / "runs")
    hostile = "</testcase>&\x00\x1b[1m\ufffe\"'\n]]>"
    named = msgspec.structs.replace(found, run_b=hostile, target_b=hostile, notes=(hostile,))

    written = junit_xml(named, gates(named, fail_below=99.0, fail_on_regression=True))

    (suite,) = ET.fromstring(written)  # noqa: S314 (our own)
    assert suite.attrib["name"] == "scsafety compare a </testcase>&[1m\"'\n]]>"
    assert suite.findall("testcase/failure")[0].attrib["message"].startswith("</testcase>&[1m")
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert properties["note_1"] == properties["target_b"] == "</testcase>&[1m\"'\n]]>"
