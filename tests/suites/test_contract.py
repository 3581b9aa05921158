"""Every suite holds the contract, the example in another package too, and the contract finds those that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from scsafety import api
from scsafety.records import Case, SuiteItem
from scsafety.suites import BUILT_IN, UNREADABLE, About, Answer, Metric, Suite, SuiteScore, judged, share, suite_named
from scsafety.suites.contract import HOSTILE, check_suite, faults
from tests.installing import install
from tests.program import environment, scsafety
from tests.scripted_server import ScriptedServer
from tests.suites import test_ali_agent, test_mm_safetybench, test_r_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_suite"
# a folder with a subfolder for each suite, the user's own copies: tests of suites whose data may not be copied need it
DATA_VAR = "SCSAFETY_SUITE_DATA"


def write_aratrust(folder: Path) -> Path:
    records = [
        {"Question": "س", "A": "أ) نعم", "B": "ب) لا", "C": "ج) ربما", "Answer": key, "Category": "Ethics"}
        for key in "أبج"
    ]
    (folder / "aratrust_test.jsonl").write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return folder


def write_r_judge(folder: Path) -> Path:
    (folder / "rjudge.json").write_text(json.dumps(test_r_judge.RECORDS), encoding="utf-8")
    return folder


WRITTEN: dict[str, Callable[[Path], Path]] = {
    "ali-agent": test_ali_agent.write_data,
    "aratrust": write_aratrust,
    "mm-safetybench": test_mm_safetybench.write_data,
    "r-judge": write_r_judge,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_suite_holds_the_contract(name: str, tmp_path: Path) -> None:
    if name in WRITTEN:
        check_suite(suite_named(name), WRITTEN[name](tmp_path))
        return
    folder = Path(os.environ.get(DATA_VAR, "data"))
    data = next((path for path in (folder / name, folder / name.replace("-", "_")) if path.is_dir()), None)
    if data is None:
        pytest.skip(f"no data of {name} at hand: {DATA_VAR} names the folder with {name}/")
    check_suite(suite_named(name), data)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("site"))


def test_the_example_is_found_under_its_name_and_holds_the_contract(installed: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    code = (
        "import sys; from pathlib import Path\n"
        "from scsafety.suites import suite_named\n"
        "from scsafety.suites.contract import check_suite\n"
        "check_suite(suite_named('scam-messages'), Path(sys.argv[1]))"
    )

    listed = scsafety("suite", "info", "scam-messages", cwd=tmp_path, env={"PYTHONPATH": path})
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLE / "messages.jsonl")],
        capture_output=True, text=True, env=environment(PYTHONPATH=path), check=False, timeout=60,
    )  # fmt: skip

    assert "诈骗短信" in listed.stdout, listed.stderr
    assert (done.returncode, done.stderr) == (0, "")


WAVERING = {"转入安全账户": "诈骗", "刷单": "诈骗？不好说"}


def test_the_example_runs_from_start_to_end(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))

    def wavers(messages: list[dict[str, str]]) -> str:
        if len(messages) > 1:
            return "正常"
        return (
            "诈骗"
            if "转入安全账户" in messages[0]["content"]
            else "诈骗？不好说"
            if "刷单" in messages[0]["content"]
            else "正常"
        )

    with ScriptedServer(wavers) as server:
        planned = api.plan_suite(
            "openai-compatible/x", "scam-messages", EXAMPLE / "messages.jsonl", base_url=server.base_url, out=tmp_path,
            name="r", environ={},
        )  # fmt: skip
        result = api.carry_out(planned)

    assert result.summary.suite is not None
    found = {metric["name"]: (metric["hits"], metric["n"]) for metric in result.summary.suite.metrics}
    # m1 is called fraud and given up, m2 and m4 honest and kept, m3 is missed, m5 says 诈骗 with a doubt
    assert found == {"recall": (2, 3), "specificity": (2, 2), "given_up": (2, 4)}
    assert api.verify("r", out=tmp_path) == []


def test_the_example_is_short_and_its_readme_names_what_is_there() -> None:
    assert len((EXAMPLE / "scam_messages.py").read_text(encoding="utf-8").splitlines()) < 120
    assert len((EXAMPLE / "messages.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    assert set(os.listdir(EXAMPLE)) >= {"README.md", "pyproject.toml"}  # noqa: PTH208


class Sound(Suite):
    """The smallest suite that holds; each test below breaks it in one place."""

    name: ClassVar[str] = "sound"
    about: ClassVar[About] = About(title="", paper="", licence="", language="", protocol="", where="")
    labels: ClassVar[tuple[str, ...]] = ("yes", "no")

    def load(self, data: Path, *, variant: str, seed: int) -> list[SuiteItem]:
        del data, variant, seed
        return [
            SuiteItem(id=f"sound-{k}", suite="sound", category="c", prompts=("q",), facts={"k": k}) for k in range(3)
        ]

    def read(self, case: Case) -> str | None:
        return case.answer if case.answer in self.labels else UNREADABLE

    def score(self, answers: Sequence[Answer]) -> SuiteScore:
        counted = judged(answers)
        return SuiteScore(metrics=(share("yes", "是", sum(a.label == "yes" for a in counted), len(counted)),))


def test_a_sound_suite_has_no_faults(tmp_path: Path) -> None:
    check_suite(Sound(), tmp_path)


def broken(**methods: Any) -> Suite:
    made: Suite = type("Broken", (Sound,), methods)()
    return made


def changed(**fields: Any) -> Callable[..., list[SuiteItem]]:
    def load(_: object, data: Path, *, variant: str, seed: int) -> list[SuiteItem]:
        return [msgspec.structs.replace(item, **fields) for item in Sound().load(data, variant=variant, seed=seed)]

    return load


def metric(n: int, value: float | None = 0.0) -> Metric:
    return Metric(name="m", zh="", value=value, n=n)


COUNTER = iter(range(10_000))
BROKEN = {
    "stands twice": broken(load=changed(id="sound-1")),
    "twice with one seed": broken(
        load=lambda *_, **__: changed(facts={"k": next(COUNTER)})(None, Path(), variant="", seed=0)
    ),
    "another seed gives other ids": broken(
        load=lambda _, data, *, variant, seed: [
            msgspec.structs.replace(item, id=f"{item.id}-{seed}")
            for item in Sound().load(data, variant=variant, seed=seed)
        ]
    ),
    "another item after JSON": broken(load=changed(facts={"pair": (1, 2)})),
    "its suite is": broken(load=changed(suite="another")),
    "no category": broken(load=changed(category=" ")),
    "a prompt is empty": broken(load=changed(prompts=("q", ""))),
    "no picture": broken(load=changed(image="nowhere.jpg")),
    "no items": broken(load=lambda *_, **__: []),
    "name each once": broken(labels=("yes", "yes")),
    "blocked_label": broken(blocked_label="perhaps"),
    "read raises IndexError": broken(read=lambda _, case: case.answer[0]),
    "none of the labels": broken(read=lambda *_: "perhaps"),
    "the suite has none": broken(read=lambda *_: None),
    "fresh random mark": broken(read=lambda *_: None, needs_judge=lambda *_: True, ask=lambda _, case: case.answer),
    "read_judge raises": broken(
        read=lambda *_: None,
        needs_judge=lambda *_: True,
        ask=lambda *_: str(next(COUNTER)),
        read_judge=lambda _, _case, reply: json.loads(reply),
    ),
    "score of no answers raises ZeroDivisionError": broken(
        score=lambda _, answers: SuiteScore(metrics=(metric(0, 1 / len(answers)),))
    ),
    "score of answers without labels": broken(score=lambda _, answers: SuiteScore(metrics=(metric(len(answers)),))),
    "is nan": broken(score=lambda *_: SuiteScore(metrics=(metric(0, float("nan")),))),
    "one name": broken(score=lambda *_: SuiteScore(metrics=(metric(0), metric(0)))),
    "by the order": broken(
        score=lambda _, answers: SuiteScore(
            metrics=(metric(0, float(answers[0].item.id == "sound-0") if answers else 0.0),)
        )
    ),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_suite_is_told_what_is_broken(said: str, tmp_path: Path) -> None:
    suite = BROKEN[said]

    assert any(said in line for line in faults(suite, tmp_path)), list(faults(suite, tmp_path))
    with pytest.raises(AssertionError, match="breaks the contract"):
        check_suite(suite, tmp_path)


def test_the_hostile_answers_are_all_different() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE)
