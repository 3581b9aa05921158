"""What the documents say is run: commands, Python, links, and the two READMEs against each other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scsafety import api
from scsafety.bank import load_bank
from scsafety.engine.settings import QUICK_MAX_TOKENS
from scsafety.targets.models import cached, embedded_model
from scsafety.targets.providers import providers
from tests.program import scsafety

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
PAGES = (*READMES, "CONTRIBUTING.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
COMMAND = re.compile(r"`((?:[A-Z_]+=\.\.\. )?scsafety run [^`]+)`")


def commands(page: str) -> list[str]:
    return COMMAND.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", commands("README.md"))
def test_every_run_command_of_the_readme_is_one_that_the_program_takes(command: str, tmp_path: Path) -> None:
    parts = shlex.split(command.replace("URL", "http://127.0.0.1:9/v1").replace("HOST", "127.0.0.1"))
    environ = {
        name: "sk-of-no-worth" for name, _, _ in (part.partition("=") for part in parts if part.endswith("=..."))
    }
    arguments = [part for part in parts if not part.endswith("=...")][1:]
    if "gguf:path/to/model.gguf" in arguments:
        (tmp_path / "path/to").mkdir(parents=True)
        (tmp_path / "path/to/model.gguf").touch()

    done = scsafety(*arguments, "--dry-run", cwd=tmp_path, env=environ)

    assert done.returncode == 0, done.stderr
    assert "target calls" in done.stdout


def test_both_readmes_give_the_same_commands() -> None:
    code = [
        re.findall(r"```(?:bash|python)\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        for page in READMES
    ]

    assert code[0] == code[1]
    assert commands(READMES[0]) == commands(READMES[1])


@pytest.mark.parametrize("page", ["ci", "inspect", "strategies", "versions"])
def test_both_languages_of_a_page_give_the_same_code_in_options_that_the_program_has(page: str, tmp_path: Path) -> None:
    code = [
        re.findall(r"```\w+\n(.*?)```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.DOTALL)
        for name in (f"{page}.md", f"{page}.zh-CN.md")
    ]

    assert code[0] == code[1]
    used = re.findall(r"scsafety (run|resume|judge|compare|export|import|verify) ([^|;\n]*)", "".join(code[0]))
    assert len(used) >= 3
    for command in {name for name, _ in used}:
        options = {option for name, rest in used if name == command for option in re.findall(r"--[a-z-]+", rest)}
        assert options <= set(re.findall(r"--[a-z-]+", scsafety(command, "--help", cwd=tmp_path).stdout)), command


@pytest.mark.embedded
def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if cached(embedded_model("qwen2.5-coder-0.5b")) is None:
        pytest.skip("the embedded model is not here: `scsafety models pull`")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "README.md", "exec"), {})  # noqa: S102 (our own page)

    score, folder = capsys.readouterr().out.split()
    assert 0 <= float(score) <= 100
    assert api.load_run(folder).summary.complete


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))

    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", ["docs/faults.md", "docs/faults.zh-CN.md"])
def test_every_test_that_the_faults_page_names_is_there(page: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / page).read_text(encoding="utf-8"))

    gone = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert gone == []
    assert len(named) > 50


def test_both_faults_pages_name_the_same_tests_in_the_same_order() -> None:
    english, chinese = (
        re.findall(r"::(\w+)`", (ROOT / "docs" / page).read_text(encoding="utf-8"))
        for page in ("faults.md", "faults.zh-CN.md")
    )

    assert english == chinese


def test_the_numbers_that_the_texts_name_are_those_of_the_code(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    usage = " ".join(scsafety("run", "--help", cwd=tmp_path).stdout.split())

    bank = load_bank()
    assert f"{len(bank.pairs):,} pairs and {len(bank.twins)} harmless twins, all original" in readme
    assert f"all {len(providers()) - 1} providers" in readme  # and openai-compatible
    assert f"answers of at most {QUICK_MAX_TOKENS} tokens" in usage
