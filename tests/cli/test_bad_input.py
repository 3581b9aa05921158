"""What goes wrong ends in one line that says what to do, with the exit code of its kind and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scsafety.store import Store
from tests.program import PROGRAM, at_once, can_write, environment, said, scsafety
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, twin, write_bank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.program import Done

    Refused = tuple[Done, Path]  # what the program did, and the folder in which it was started

USAGE, MACHINE = 2, 4
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return write_bank(tmp_path / "bank.jsonl", [pair(1), pair(2), twin(1)])


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as started:
        yield started


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, server: ScriptedServer) -> Path:
    """A folder with `bank.jsonl` and a finished run `done`; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("finished")
    write_bank(folder / "bank.jsonl", [pair(1), pair(2), twin(1)])
    done = scsafety("run", *target(server), "--bank", "bank.jsonl", "--name", "done", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def target(server: ScriptedServer) -> list[str]:
    return ["--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast"]


def run_small(server: ScriptedServer, bank: Path, *more: object, **given: Any) -> Done:
    return scsafety("run", *target(server), "--bank", bank, *more, cwd=bank.parent, **given)


# The bank


def record(**changes: object) -> bytes:
    """A bank line with some fields changed; None leaves the field out."""
    fields = {**json.loads(msgspec.json.encode(pair(7))), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False).encode()


BAD_LINES = {
    "a missing field": (record(risk_point=None), ("bank.jsonl:3", "risk_point", "missing", "add this field")),
    "a wrong enum": (record(form="sideways"), ("bank.jsonl:3", "form", "'sideways' is not allowed", "use one of direct,")),
    "a duplicate id": (record(id=pair(1).id), ("bank.jsonl:3", "id", "stands already at", "bank.jsonl:1")),
    "an unknown field": (record(followup="x"), ("bank.jsonl:3", "followup", "did you mean 'follow_up'?")),
    "an unknown sub-dimension": (record(id="proprty_privacy-001"), ("bank.jsonl:3", "did you mean 'property_privacy'?")),
    "an empty text": (record(question=" \n"), ("bank.jsonl:3", "question", "empty", "fill it in")),
    "a control character": (record(question="a\x1b[31mb"), ("bank.jsonl:3", "question", "U+001B", "remove it")),
    "a text for a number": (record(severity="2"), ("bank.jsonl:3", "severity", "use one of 1, 2, 3")),
    "half a line": (record()[:40], ("bank.jsonl:3", "not JSON", "one JSON object a line")),
    "a list": (b"[1, 2]", ("bank.jsonl:3", "not a JSON object")),
    "invalid UTF-8": (record(question="?~?").replace(b"~", b"\xff\xfe"), ("bank.jsonl:3", "invalid UTF-8", "save it as UTF-8")),
    "a line of 2 MB": (record(question="\u957f" * 700_000), ("bank.jsonl:3", "bytes, more than 65,536", "shorten")),
    "deep nesting": (b"[" * 30_000, ("bank.jsonl:3", "not JSON")),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad_lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refused]:
    folders = {what: tmp_path_factory.mktemp("bank") for what in BAD_LINES}
    for what, folder in folders.items():
        bank = write_bank(folder / "bank.jsonl", [pair(1), pair(2)])
        bank.write_bytes(bank.read_bytes() + BAD_LINES[what][0] + b"\n")
    with ScriptedServer() as server:
        jobs = {what: partial(run_small, server, folder / "bank.jsonl") for what, folder in folders.items()}
        done = at_once(jobs)
        assert server.bodies == []
    return {what: (done[what], folder) for what, folder in folders.items()}


@pytest.mark.parametrize("what", BAD_LINES)
def test_a_bank_line_that_cannot_be_used_is_named_with_file_line_field_and_the_mend(
    bad_lines: dict[str, Refused], what: str
) -> None:
    done, folder = bad_lines[what]

    assert done.returncode == USAGE
    assert [word for word in BAD_LINES[what][1] if word not in said(done)] == []
    assert len(said(done)) < 600
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"\xef\xbb\xbf" + record() + b"\n",
            "bank.jsonl:1: starts with a byte-order mark; save it as UTF-8 without BOM",
        ),
        (b"", "bank.jsonl: no record in it; put one JSON object on each line"),
        (b"\n\n", "no record in it"),
        (None, "bank.jsonl: no such file or folder; check the path given to --bank"),
    ],
    ids=["bom", "empty", "blank", "missing"],
)
def test_a_bank_file_that_cannot_be_used_is_named(
    tmp_path: Path, server: ScriptedServer, content: bytes | None, words: str
) -> None:
    bank = tmp_path / "bank.jsonl"
    if content is not None:
        bank.write_bytes(content)

    done = run_small(server, bank)

    assert done.returncode == USAGE
    assert words in said(done)


# Models, keys, options


WRONG: dict[str, tuple[list[str], *tuple[str, ...]]] = {
    "an unknown provider": (["--model", "depseek/chat"], "unknown provider 'depseek'; did you mean deepseek"),
    "no provider": (["--model", "gpt"], "gpt names no provider"),
    "an unknown embedded model": (["--model", "local/qwen9"], "qwen9"),
    "a missing file": (["--model", "gguf:none.gguf"], "none.gguf: no such file"),
    "a missing key": (["--model", "deepseek/deepseek-chat"], "deepseek needs a key: export DEEPSEEK_API_KEY="),
    "a missing address": (["--model", "openai-compatible/x"], "--base-url"),
    "an address of another kind": (["--model", "openai-compatible/x", "--base-url", "ftp://x"], "http:// or https://"),
    "a key in the address": (
        ["--model", "openai-compatible/x", "--base-url", "http://u:p@127.0.0.1/v1"],
        "environment",
    ),
    "an unknown selection": (
        ["--only", "proprty_privacy"],
        "--only 'proprty_privacy'",
        "did you mean 'property_privacy'?",
    ),
    "an empty selection": (["--only", "environment"], "nothing to ask"),
    "an unknown judge": (
        ["--judge", "oflline"],
        "--judge 'oflline' is unknown; give offline, offline-large, offline-fast",
    ),
    "a judge of an unknown provider": (["--judge", "nobody/x"], "unknown provider 'nobody'"),
    "a judge without a key": (["--judge", "zhipu/glm"], "zhipu needs a key"),
    "quick and limit": (["--quick", "--limit", "1"], "--quick and --limit exclude each other"),
    "limit 0": (["--limit", "0"], "--limit 0: give 1 or more"),
    "epochs 0": (["--epochs", "0"], "--epochs 0: give 1 or more"),
    "a hot temperature": (["--temperature", "3"], "give a number from 0 to 2"),
    "no tokens": (["--max-tokens", "0"], "--max-tokens 0: give 1 or more"),
    "no concurrency": (["--concurrency", "0"], "--concurrency 0: give a number above 0"),
    "no time": (["--timeout", "-1"], "--timeout -1.0: give a number above 0"),
    "an unknown strategy": (["--strategy", "fixd"], "--strategy 'fixd' is unknown; did you mean 'fixed'?"),
    "an attacker without need": (["--attacker", "deepseek/x"], "--attacker needs an adaptive --strategy"),
    "a name that leaves the folder": (["--name", "../x"], "--name '../x': use letters"),
    "a missing system file": (["--system", "@none.txt"], "--system @none.txt: cannot be read"),
    "one name for two models": (["--model", "openai-compatible/y", "--name", "n"], "--name names one run"),
    "one address for two providers": (["--model", "vllm/y"], "--base-url is one address"),
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refused]:
    folders = {what: tmp_path_factory.mktemp("option") for what in WRONG}
    jobs: dict[str, Callable[[], Done]] = {}
    with ScriptedServer() as server:
        for what, (options, *_) in WRONG.items():
            own_target = "--model" in options and not what.startswith("one ")
            base = ["--judge", "offline-fast"] if own_target else target(server)
            bank = write_bank(folders[what] / "bank.jsonl", [pair(1), twin(1)])
            jobs[what] = partial(scsafety, "run", *base, "--bank", bank, *options, cwd=folders[what])
        done = at_once(jobs)
        assert server.bodies == []
    return {what: (done[what], folder) for what, folder in folders.items()}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_option_is_refused_before_anything_is_asked_or_written(wrong: dict[str, Refused], what: str) -> None:
    done, folder = wrong[what]

    assert done.returncode == USAGE, done
    assert [word for word in WRONG[what][1:] if word not in said(done)] == []
    assert not (folder / "runs").exists()


@pytest.mark.skipif(os.name == "nt", reason="arguments are Unicode there")
def test_an_option_that_is_no_utf_8_is_refused(bank: Path, server: ScriptedServer) -> None:
    done = run_small(server, bank, "--system", os.fsdecode(b"\xff\xfe"))

    assert done.returncode == USAGE
    assert "not UTF-8" in said(done)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", "sk-ключ", "sk a"], ids=["newline", "not-ascii", "blank"])
def test_a_key_that_is_no_header_is_refused_without_being_shown(bank: Path, server: ScriptedServer, key: str) -> None:
    done = run_small(server, bank, env={"SCSAFETY_API_KEY": key})

    assert done.returncode == USAGE
    assert "SCSAFETY_API_KEY holds" in said(done)
    assert "export the key again" in said(done)
    assert not any(part in done.stderr + done.stdout for part in key.split() if len(part) > 2)


def test_a_wrong_command_or_option_names_itself_and_the_help(tmp_path: Path) -> None:
    for arguments in (["rum"], ["run", "--modle", "x"], ["run", "--limit", "many"], ["resume"]):
        done = scsafety(*arguments, cwd=tmp_path)

        assert done.returncode == USAGE
        assert "Traceback" not in done.stderr
        assert "Error: " in done.stderr
        assert "help" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["runs", "show"], ["export"], ["resume"], ["judge", "--judge", "offline-fast"], ["report"], ["runs", "delete", "--yes"]],
    ids=lambda arguments: " ".join(arguments),
)  # fmt: skip
def test_a_run_that_is_not_there_is_named_with_the_way_to_list_them(tmp_path: Path, arguments: list[str]) -> None:
    done = scsafety(*arguments, "nobody", cwd=tmp_path)

    assert done.returncode == MACHINE
    assert "nobody: no run there; `scsafety runs list`" in said(done)


# Resuming another run than was begun


CHANGES = {
    "--model": ("openai-compatible/y", "the model"),
    "--base-url": ("http://127.0.0.1:9/v1", "the base URL"),
    "--bank": ("other.jsonl", "the bank's content"),
    "--seed": ("5", "the seed"),
    "--limit": ("1", "the selection"),
    "--only": ("attack", "the selection"),
    "--epochs": ("2", "the number of epochs"),
    "--temperature": ("0.7", "the temperature"),
    "--max-tokens": ("9", "the token limit"),
    "--system": ("你是助手", "the system prompt"),
    "--strategy": ("crescendo", "the strategy"),
}  # fmt: skip


@pytest.fixture(scope="module")
def changed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refused]:
    folders = {option: tmp_path_factory.mktemp("resume") for option in CHANGES}
    for folder in folders.values():
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        write_bank(folder / "other.jsonl", [pair(1), pair(3), twin(1)])
    done = at_once({
        option: partial(scsafety, "resume", "done", option, value, cwd=folders[option])
        for option, (value, _) in CHANGES.items()
    })  # fmt: skip
    return {option: (done[option], folder) for option, folder in folders.items()}


@pytest.mark.parametrize("option", CHANGES)
def test_resume_refuses_to_make_it_another_run_and_says_why(
    finished: Path, changed: dict[str, Refused], option: str
) -> None:
    done, folder = changed[option]

    assert done.returncode == USAGE
    assert f"resume cannot change {CHANGES[option][1]}" in said(done)
    assert "start a new run with `scsafety run`" in said(done)
    assert (folder / "runs/done/run.db").read_bytes() == (finished / "runs/done/run.db").read_bytes()


def test_resume_takes_the_settings_that_the_run_has_and_another_policy(finished: Path, server: ScriptedServer) -> None:
    asked = len(server.bodies)
    same = [
        "--model",
        "openai-compatible/x",
        "--base-url",
        server.base_url + "/",
        "--bank",
        "bank.jsonl",
        "--epochs",
        "1",
    ]

    done = scsafety("resume", "done", *same, "--concurrency", "2", "--timeout", "9", "--rpm", "60", cwd=finished)

    assert done.returncode == 0, done.stderr
    assert len(server.bodies) == asked


def test_a_name_that_is_taken_points_to_resume(finished: Path, server: ScriptedServer) -> None:
    done = run_small(server, finished / "bank.jsonl", "--name", "done")

    assert done.returncode == USAGE
    assert "exists already: `scsafety resume done` goes on with it, or choose another --name" in said(done)


# The machine


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    try:
        if can_write(folder):
            pytest.skip("nothing binds this user: a read-only folder can be written")
        yield
    finally:
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_named(bank: Path, server: ScriptedServer) -> None:
    asked = len(server.bodies)
    with read_only(bank.parent / "fixed"):
        done = run_small(server, bank, "--out", "fixed", restricted=True)

    assert done.returncode == MACHINE
    assert "fixed" in said(done)
    assert "choose a writable folder with --out" in said(done)
    assert len(server.bodies) == asked


def test_a_run_in_a_folder_that_cannot_be_written_can_be_read_and_not_resumed(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "done"
    shutil.copytree(finished / "runs" / "done", folder)
    for left in folder.glob("run.db-*"):
        left.unlink()
    (folder / "run.db.lock").unlink(missing_ok=True)
    with read_only(folder):
        shown = scsafety("runs", "show", "done", cwd=tmp_path, restricted=True)
        resumed = scsafety("resume", "done", cwd=tmp_path, restricted=True)

    assert shown.returncode == 0, shown.stderr
    assert resumed.returncode == MACHINE
    assert "choose a writable folder" in said(resumed)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted by this user")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def long_answer(messages: list[dict[str, str]]) -> str:
    return "建议先沟通，注意风险。" * 3_000 + str(len(messages))


def many_pairs(folder: Path) -> Path:
    return write_bank(folder / "bank.jsonl", [pair(n) for n in range(1, 31)])


def test_a_full_disk_ends_the_run_with_what_to_do_and_resume_finishes_it(tmp_path: Path, tiny_disk: Path) -> None:
    bank = many_pairs(tmp_path)
    with ScriptedServer(long_answer) as server:
        done = run_small(server, bank, "--out", tiny_disk, "--name", "full")

        assert done.returncode == MACHINE
        assert "Traceback" not in done.stderr
        assert "the disk is full; free some space, then `scsafety resume` goes on" in done.stderr.splitlines()[-1]

        shutil.copytree(tiny_disk / "full", tmp_path / "runs" / "full")
        resumed = scsafety("resume", "full", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "runs/full/summary.json").read_bytes())["overall"]["n"] == 60


def test_a_limit_on_file_sizes_ends_the_run_like_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limits on files here")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    bank = many_pairs(tmp_path)
    with ScriptedServer(long_answer) as server:
        done = run_small(server, bank, "--name", "full", preexec_fn=limit)

        assert done.returncode == MACHINE
        assert "Traceback" not in done.stderr
        assert "`scsafety resume` goes on" in done.stderr.splitlines()[-1]

        assert scsafety("resume", "full", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "command", [["resume"], ["runs", "show"], ["export"], ["judge", "--judge", "offline-fast"]], ids=str
)
def test_a_damaged_store_is_refused_with_what_to_do(finished: Path, tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "runs" / "done"
    shutil.copytree(finished / "runs" / "done", folder)
    db = folder / "run.db"
    data = db.read_bytes()
    db.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))

    done = scsafety(*command, "done", cwd=tmp_path)

    assert done.returncode == MACHINE
    assert "the file is damaged; restore a copy, or delete the run and start again" in said(done)


def test_one_damaged_store_does_not_keep_the_others_from_being_listed(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "done", tmp_path / "runs" / "done")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.db").write_bytes(b"SQLite format 3\x00 and nothing more")

    done = scsafety("runs", "list", cwd=tmp_path)

    assert done.returncode == 0
    assert "openai-compatible/x" in done.stdout
    assert "broken" in done.stdout


def test_a_run_whose_settings_were_edited_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "done", tmp_path / "runs" / "done")
    db = sqlite3.connect(tmp_path / "runs/done/run.db")
    db.execute("UPDATE meta SET value = '{\"model\": 1}' WHERE key = 'settings'")
    db.commit()
    db.close()

    done = scsafety("resume", "done", cwd=tmp_path)

    assert done.returncode == MACHINE
    assert "its settings cannot be read" in said(done)


@pytest.mark.parametrize("command", [["resume"], ["judge", "--judge", "offline-fast"]], ids=str)
def test_a_run_that_another_process_writes_is_refused_to_a_second_writer_and_can_be_read(
    finished: Path, command: list[str]
) -> None:
    with Store.open(finished / "runs/done/run.db", write=True):
        done = scsafety(*command, "done", cwd=finished)
        shown = scsafety("runs", "show", "done", cwd=finished)

    assert done.returncode == MACHINE
    assert "another scsafety process is writing this run; wait for it or stop it" in said(done)
    assert shown.returncode == 0


def test_a_run_that_is_being_deleted_while_it_is_written_is_kept(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "done", tmp_path / "runs" / "done")
    with Store.open(tmp_path / "runs/done/run.db", write=True):
        done = scsafety("runs", "delete", "done", "--yes", cwd=tmp_path)

    assert done.returncode == MACHINE
    assert "another scsafety process is writing this run" in said(done)
    assert (tmp_path / "runs/done/run.db").exists()


# The endpoint


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", ("refuses the key", "check SCSAFETY_API_KEY")), ("402", ("no quota or balance left", "top it up"))],
    ids=["refused-key", "quota"],
)
def test_an_endpoint_that_refuses_us_ends_the_run_at_once_and_resume_finishes_it(
    bank: Path, fault: str, words: tuple[str, ...]
) -> None:
    with ScriptedServer(always=fault) as server:
        done = run_small(server, bank, "--name", "refused", env={"SCSAFETY_API_KEY": KEY})

        assert done.returncode == MACHINE
        assert [word for word in words if word not in said(done)] == []
        server.always = None

        resumed = scsafety("resume", "refused", cwd=bank.parent, env={"SCSAFETY_API_KEY": KEY})
    assert resumed.returncode == 0, resumed.stderr


def test_a_key_that_is_refused_in_the_middle_loses_nothing(bank: Path) -> None:
    with ScriptedServer(faults={pair(2).follow_up: ["401"]}) as server:
        done = run_small(server, bank, "--name", "middle", "--concurrency", "1", "--no-benign")

        assert done.returncode == MACHINE
        assert "Traceback" not in done.stderr
        assert "check SCSAFETY_API_KEY" in done.stderr.splitlines()[-1]
        assert "3 answers are kept; `scsafety resume middle` goes on" in done.stderr
        assert len(server.bodies) == 4

        assert scsafety("resume", "middle", cwd=bank.parent).returncode == 0
        assert len(server.bodies) == 5


def test_what_stays_unanswered_is_counted_with_exit_code_1(bank: Path) -> None:
    bad = {"error": {"message": "messages: too strange", "code": "invalid_request"}}

    class Strange(ScriptedServer):
        async def _respond(self, request):  # type: ignore[no-untyped-def]
            from aiohttp import web

            if (await request.json())["messages"][-1]["content"] == pair(2).question:
                return web.json_response(bad, status=400)
            return await super()._respond(request)

    with Strange() as server:
        done = run_small(server, bank, "--name", "partly")

    assert done.returncode == 1
    assert "2 turns unanswered, 0 unjudged; `scsafety resume partly` tries them again" in said(done)
    assert (bank.parent / "runs/partly/report/index.html").exists()


def test_a_run_that_waits_for_an_endpoint_ends_at_once_when_it_is_told_to(bank: Path) -> None:
    """Nobody is at the address, and the retries are cut short by a signal."""
    base = ["--model", "openai-compatible/x", "--base-url", "http://127.0.0.1:9/v1", "--judge", "offline-fast"]
    command = [*PROGRAM, "run", *base, "--bank", str(bank), "--name", "nobody"]
    child = subprocess.Popen(
        command, cwd=bank.parent, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    waiting = threading.Event()
    while not (bank.parent / "runs/nobody/run.db-wal").exists() and child.poll() is None:
        waiting.wait(0.01)
    waiting.wait(0.3)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=30)

    assert child.returncode == (143 if os.name != "nt" else 1)
    assert "Traceback" not in errors


def test_a_reader_that_goes_away_is_no_error(finished: Path) -> None:
    command = [*PROGRAM, "export", "done"]
    child = subprocess.Popen(
        command, cwd=finished, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()

    assert child.wait(30) == 0
    assert errors == ""
