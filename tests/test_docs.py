"""What the documents say is run: commands, Python, links, and the two READMEs against each other."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
from scripts import cli_reference

from scsafety import api
from scsafety.bank import load_bank
from scsafety.bank.standards import coverage, standard_named
from scsafety.cli import app
from scsafety.engine.settings import QUICK_MAX_TOKENS
from scsafety.targets.models import cached, embedded_model
from scsafety.targets.providers import providers
from tests.program import scsafety

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
PAGES = (*READMES, "CONTRIBUTING.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
BY_USER = (
    "index",
    "quickstart",
    "concepts",
    "for-model-teams",
    "for-compliance",
    "for-researchers",
    "for-red-teams",
    "faq",
)
CHECKED = (*BY_USER, "serving")  # every command of theirs is parsed, every run planned
TWICE = (  # in both languages
    *CHECKED,
    "api",
    "architecture",
    "bank-format",
    "ci",
    "cli",
    "data-card",
    "judges",
    "limits",
    "observability",
    "scale",
    "statistics",
    "store",
    "strategies",
    "versions",
)
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


def code_of(page: str) -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL))


def shown(page: str) -> list[list[str]]:
    """The arguments of every `scsafety` line in the page's blocks of commands."""
    lines = [line.partition(" > ")[0] for line in code_of(page).splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("scsafety ")]


def parse(arguments: list[str]) -> None:
    """As the program would, without doing anything. Raises typer's usage errors."""
    command: Any = typer.main.get_command(app)
    while arguments and (below := getattr(command, "commands", {})):
        name, *arguments = arguments
        assert name in below, f"there is no command {name}"
        command = below[name]
    command.make_context("scsafety", list(arguments))


@pytest.mark.parametrize("page", [f"docs/{name}.md" for name in CHECKED])
def test_every_command_of_the_pages_by_user_is_one_that_the_program_takes(page: str) -> None:
    for arguments in shown(page):
        parse(arguments)


def test_a_command_with_an_option_that_is_not_there_does_not_pass_for_one() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        parse(["bank", "stats", "--no-such-option"])


RUNS = sorted({shlex.join(one) for name in CHECKED for one in shown(f"docs/{name}.md") if one[0] == "run"})


@pytest.mark.parametrize("command", RUNS)
def test_every_run_of_the_pages_by_user_can_be_planned(command: str, tmp_path: Path) -> None:
    keys = ("DEEPSEEK_API_KEY", "DASHSCOPE_API_KEY", "SCSAFETY_API_KEY")
    (tmp_path / "prompt.txt").write_text("你是客服。", encoding="utf-8")
    (tmp_path / "shop.toml").write_text(
        'url = "http://127.0.0.1:9/chat"\nanswer = "data.reply"\nbody = \'{"query": "{prompt}"}\'', encoding="utf-8"
    )
    line = (ROOT / "src/scsafety/bank/data/responsible/environment.jsonl").read_text(encoding="utf-8").splitlines()[1]
    (tmp_path / "mine.jsonl").write_text(f"{line}\n", encoding="utf-8")

    done = scsafety(*shlex.split(command), "--dry-run", cwd=tmp_path, env=dict.fromkeys(keys, "sk-of-no-worth"))

    assert done.returncode == 0, done.stderr
    assert "target calls" in done.stdout


@pytest.mark.parametrize("page", TWICE)
def test_both_languages_of_a_page_show_the_same_code_and_the_same_sections(page: str) -> None:
    english, chinese = ((ROOT / "docs" / f"{page}{end}").read_text(encoding="utf-8") for end in (".md", ".zh-CN.md"))

    fences = re.compile(r"^```\w+\n.*?^```", re.DOTALL | re.MULTILINE)
    assert fences.findall(english) == fences.findall(chinese)
    heads = [re.findall(r"^(#+) ", fences.sub("", text), re.MULTILINE) for text in (english, chinese)]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("page", cli_reference.PAGES, ids=lambda page: page.name)
def test_the_reference_of_the_command_line_is_what_the_program_says_today(page: cli_reference.Page) -> None:
    written = (cli_reference.DOCS / page.name).read_text(encoding="utf-8")

    assert written == cli_reference.reference(page), "make it anew: python scripts/cli_reference.py"


@pytest.mark.parametrize("page", ["data-card.md", "data-card.zh-CN.md"])
def test_the_data_card_counts_what_is_in_the_bank(page: str) -> None:
    text, bank = (ROOT / "docs" / page).read_text(encoding="utf-8"), load_bank()
    pairs, twins = (Counter(one.sub_dimension for one in of) for of in (bank.pairs, bank.twins))

    rows = re.findall(r"\| `(\w+)` \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert rows == [(name, str(pairs[name]), str(twins[name])) for name in pairs]
    for field in ("form", "tactic"):
        counts = dict(
            re.findall(r"`(\w+)` (\d+)", next(row for row in text.splitlines() if row.startswith(f"| `{field}`")))
        )
        assert {name: int(n) for name, n in counts.items()} == Counter(getattr(one, field) for one in bank.pairs)
    risks = coverage(standard_named("gbt45654"), bank.items)
    enough = sum(one.questions >= (one.minimum or 0) for one in risks)
    assert re.search(rf"{len(risks)} (?:risks|类).*?\b{enough}\b", text)
    severities = Counter(one.severity for one in bank.pairs)
    for told in (
        f"{len(bank.pairs):,}", f"{2 * len(bank.pairs):,}", f"`{bank.hash}`", f"| {bank.version} |",
        f"| {sum(one.expect == 'refuse' for one in bank.pairs)} |", f"| {sum(one.system is not None for one in bank.pairs)} |",
        *(f" {n:,}" for n in severities.values()),
    ):  # fmt: skip
        assert told in text


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
