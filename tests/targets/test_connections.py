"""What can go wrong below HTTP, by a server that really does it: each fault costs a try and never gives a wrong answer."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme

from scsafety.errors import CallFailed, TargetStop
from scsafety.records import Message, Reply, Sampling
from scsafety.targets import chat
from scsafety.targets.chat import MAX_BODY_BYTES, ChatTarget, Limits
from scsafety.targets.providers import resolve
from tests.misbehaving_server import (
    ANSWERS,
    BODY,
    SAID,
    MisbehavingServer,
    chunked,
    full_backlog,
    hangs_up,
    http,
    resets,
    sends,
    stalls,
    trickles,
)
from tests.program import said, scsafety
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from tests.misbehaving_server import Behaviour
    from tests.program import Done

QUESTION = (Message("user", "你好"),)
QUICK = {"timeout_s": 0.4, "max_attempts": 3}


def ask(base_url: str, *, times: int = 1, notes: list[str] | None = None, **limits: Any) -> list[Reply]:
    """Asks one question after the other over one connection pool."""

    async def work() -> list[Reply]:
        endpoint = resolve("openai-compatible/x", base_url=base_url, environ={})
        async with aiohttp.ClientSession() as session:
            told = [] if notes is None else notes
            target = ChatTarget(
                endpoint, session, Limits(**{**QUICK, **limits}), on_retry=lambda note: told.append(note.line)
            )
            return [await target.ask(QUESTION, Sampling()) for _ in range(times)]

    return asyncio.run(work())


HALF = BODY[: len(BODY) // 2]
FAULTS: dict[str, Behaviour] = {
    "closed before a byte": hangs_up(),
    "reset before a byte": resets(),
    "closed in the head": hangs_up(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closed in the body": hangs_up(http(HALF, length=len(BODY))),
    "reset in the body": resets(http(HALF, length=len(BODY))),
    "a length that is too large": hangs_up(http(BODY, length=len(BODY) + 50)),
    "a length that is too small": sends(http(BODY, length=len(BODY) - 50)),
    "a length that is no number": sends(http(BODY).replace(b"Content-Length: ", b"Content-Length: x")),
    "a negative length": sends(http(BODY, length=-1)),
    "chunks cut off": hangs_up(chunked(HALF, end=False)),
    "chunks reset": resets(chunked(HALF, end=False)),
    "a chunk of no size": hangs_up(chunked(HALF, end=False) + b"zz\r\n"),
    "chunks that end too early": sends(chunked(HALF)),
    "no first byte": stalls(),
    "no byte after the head": stalls(http(b"", length=len(BODY))),
    "no byte after half of it": stalls(http(HALF, length=len(BODY))),
    "no end of its chunks": stalls(chunked(HALF, end=False)),
    "no HTTP": hangs_up(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "a status that is no number": hangs_up(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a header without end": hangs_up(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "a web page": sends(http(b"<html><title>Sign in</title></html>", "Content-Type: text/html")),
    "an empty body": sends(http(b"")),
    "half of the JSON": sends(http(HALF)),
    "no gzip at all": sends(http(BODY, "Content-Encoding: gzip")),
    "half of a gzip": sends(http(gzip.compress(BODY)[:40], "Content-Encoding: gzip")),
    "an unknown encoding": sends(http(b"\x01\x02" + BODY, "Content-Encoding: br")),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_connection_that_fails_costs_one_more_try_and_the_answer_is_whole(what: str) -> None:
    notes: list[str] = []
    with MisbehavingServer(FAULTS[what], ANSWERS) as server:
        (reply,) = ask(server.base_url, notes=notes)

        assert server.n_requests == 2
    assert (reply.content, reply.attempts) == (SAID, 2)
    assert len(notes) == 1
    assert notes[0].startswith("transient: ")


@pytest.mark.parametrize("what", ["closed in the body", "chunks cut off", "half of the JSON"])
def test_half_an_answer_is_never_taken_for_one(what: str) -> None:
    with MisbehavingServer(FAULTS[what]) as server, pytest.raises(CallFailed, match="transient") as caught:
        ask(server.base_url)

    assert caught.value.attempts == server.n_requests == 3


def test_what_stands_behind_an_answer_is_not_read_as_the_next_one() -> None:
    smuggled = http(BODY.replace(SAID.encode(), "好的，第一步".encode()))
    with MisbehavingServer(sends(http(BODY) + smuggled), ANSWERS) as server:
        replies = ask(server.base_url, times=3)

    assert [reply.content for reply in replies] == [SAID] * 3


def test_chunks_of_a_byte_and_slow_bytes_are_an_answer() -> None:
    bytewise = sends(chunked(*(bytes([byte]) for byte in BODY)))
    slow = trickles(http(BODY), every_s=0.001)  # 0.3 s and more in all; never 0.4 s without a byte
    with MisbehavingServer(bytewise, slow) as server:
        assert [(reply.content, reply.attempts) for reply in ask(server.base_url, times=2)] == [(SAID, 1)] * 2


def test_a_trickle_that_never_ends_is_ended_by_the_total_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "TOTAL_TIMEOUT_S", 0.6)
    with MisbehavingServer(trickles(b"H" * 1_000, every_s=0.1), ANSWERS) as server:
        began = time.monotonic()
        (reply,) = ask(server.base_url)

    assert reply.attempts == 2
    assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux stays silent")
def test_an_address_that_takes_no_connection_is_given_up_after_the_time_for_connecting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "CONNECT_TIMEOUT_S", 0.2)
    began = time.monotonic()

    with full_backlog() as base_url, pytest.raises(TargetStop, match=r"nobody is there.*no connection within"):
        ask(base_url, max_attempts=2)

    assert time.monotonic() - began < 5


def test_a_name_that_nobody_has_stops_the_run_and_is_named() -> None:
    with pytest.raises(TargetStop, match=r"nobody is there: check --base-url .*nobody\.invalid"):
        ask("http://nobody.invalid/v1", max_attempts=2)


def test_a_reset_by_an_endpoint_that_was_never_there_is_no_silent_loss() -> None:
    with MisbehavingServer(resets()) as server, pytest.raises(TargetStop, match="nobody is there"):
        ask(server.base_url, max_attempts=2)


@pytest.mark.parametrize("megabytes", [1, 4])
def test_a_long_answer_is_kept_whole(megabytes: int) -> None:
    said = "长" * (megabytes * 2**20 // 3)
    with MisbehavingServer(sends(http(BODY.replace(SAID.encode(), said.encode())))) as server:
        (reply,) = ask(server.base_url, timeout_s=20.0)

    assert reply.content == said


def test_a_gzip_bomb_takes_no_more_memory_than_the_bound() -> None:
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES * 64))
    with MisbehavingServer(sends(http(bomb, "Content-Encoding: gzip"))) as server:
        tracemalloc.start()
        try:
            with pytest.raises(CallFailed, match="larger than 8 MiB"):
                ask(server.base_url, max_attempts=1, timeout_s=20.0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 4 * MAX_BODY_BYTES  # unpacked it has 64 times the bound


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


def test_a_certificate_that_cannot_be_trusted_stops_the_run_at_once(authority: trustme.CA) -> None:
    began = time.monotonic()
    with MisbehavingServer(ANSWERS, tls=server_side(authority)) as server:
        with pytest.raises(TargetStop, match=r"certificate cannot be trusted: check --base-url; SSL_CERT_FILE"):
            ask(server.base_url, max_attempts=6)

        assert server.n_requests == 0
    assert time.monotonic() - began < 2


def test_ssl_cert_file_names_an_authority_and_a_certificate_of_another_host_is_refused_all_the_same(
    authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    bank = write_bank(tmp_path / "bank.jsonl", [pair(1)])

    def run(server: MisbehavingServer, name: str) -> Done:
        target = ["--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast"]
        env = {"SSL_CERT_FILE": str(tmp_path / "authority.pem")}
        return scsafety("run", *target, "--bank", bank, "--name", name, cwd=tmp_path, env=env)

    with MisbehavingServer(ANSWERS, tls=server_side(authority)) as server:
        done = run(server, "own")
        assert done.returncode == 0, done.stderr
    with MisbehavingServer(ANSWERS, tls=server_side(authority, "elsewhere.example")) as server:
        done = run(server, "other")
        assert done.returncode == 4
        assert "certificate cannot be trusted" in said(done)


@pytest.mark.parametrize("spoken", ["http", "https"])
def test_plain_http_where_tls_is_spoken_and_the_other_way_round_is_named(authority: trustme.CA, spoken: str) -> None:
    tls, asked = (None, "https:") if spoken == "http" else (server_side(authority), "http:")
    with (
        MisbehavingServer(ANSWERS, tls=tls) as server,
        pytest.raises(TargetStop, match="nobody is there: check --base-url") as caught,
    ):
        ask(server.base_url.replace(f"{spoken}:", asked), max_attempts=2)

    assert "ssl" in str(caught.value).lower() or spoken == "https"
