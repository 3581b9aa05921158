"""Is a target or a judge ready? The ways in which the road to it, and its answers, can be wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scsafety.engine.checkup import addresses_elsewhere, addresses_named, memory_finding
from scsafety.engine.endpoint_checks import judge_findings, target_findings, way_findings
from scsafety.engine.trial import FOLLOW_UP
from scsafety.targets.outage import CONTROL_QUESTION
from tests.scripted_server import ScriptedServer, completion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scsafety.engine.diagnosis import Finding

MODEL = "openai-compatible/x"
PROXY_VARS = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither keys, proxies and certificates of the tester's nor a `.env`."""
    for name in (*PROXY_VARS, *map(str.upper, PROXY_VARS), "SSL_CERT_FILE", "SSL_CERT_DIR", "SCSAFETY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def found(findings: Iterator[Finding], level: str | None = None) -> dict[str, str]:
    """The text of each finding of that level, by its name."""
    return {one.name: one.text for one in findings if level in (None, one.level)}


def way(base_url: str, level: str | None = None) -> dict[str, str]:
    return found(way_findings("target", MODEL, base_url), level)


def refusing(what: str) -> type[ScriptedServer]:
    """A server that answers 400 to a history, to a system message or to a response format."""

    class Refusing(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            body = await request.json()
            roles = [message["role"] for message in body["messages"]]
            if {"history": "assistant", "system": "system"}.get(what) in roles or what in body:
                error = {"message": f"{what} is not supported here", "type": "invalid_request_error"}
                return web.json_response({"error": error}, status=400)
            return await super()._respond(request)

    return Refusing


class TestAnswers:
    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ("history", "a conversation with history is refused"),
            ("system", "a system message is refused"),
        ],
    )
    def test_an_endpoint_that_takes_no_history_or_no_system_message_fails_in_round_2(
        self, what: str, said: str
    ) -> None:
        with refusing(what)() as server:
            failed = found(target_findings(MODEL, server.base_url), "FAIL")

        assert failed.keys() == {"target round 2"}
        assert failed["target round 2"].startswith(said)

    @pytest.mark.parametrize(
        ("server", "said"),
        [(refusing("response_format"), "response_format is refused"), (ScriptedServer, "taken and not obeyed")],
    )
    def test_an_endpoint_without_json_mode_is_only_a_note(self, server: type[ScriptedServer], said: str) -> None:
        with server() as running:
            findings = list(target_findings(MODEL, running.base_url))

        assert found(iter(findings), "FAIL") == {}
        assert said in found(iter(findings), "note")["target json mode"]

    def test_a_provider_that_is_known_to_have_no_json_mode_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STEP_API_KEY", "sk-planted")

        with ScriptedServer() as server:
            findings = list(target_findings("stepfun/step-2", server.base_url))

            assert len(server.bodies) == 2
        assert "the provider is known to have none" in found(iter(findings), "note")["target json mode"]
        assert "a gateway may answer in its place" in found(iter(findings), "note")["target host"]

    @pytest.mark.parametrize("blocked", [CONTROL_QUESTION, FOLLOW_UP])
    def test_a_filter_that_blocks_a_harmless_question_fails_the_check(self, blocked: str) -> None:
        with ScriptedServer(faults={blocked: ["dashscope_block"]}) as server:
            failed = found(target_findings(MODEL, server.base_url), "FAIL")

        assert "do not score now" in failed["target moderation"]

    @pytest.mark.parametrize(
        ("status", "code", "part"),
        [
            (404, "model_not_found", "target model"),
            (404, "ModelNotOpen", "target model"),
            (401, "invalid_api_key", "target key"),
            (403, "insufficient_quota", "target account"),
        ],
    )
    def test_what_the_vendor_refuses_is_told_apart_and_nothing_more_is_asked(
        self, status: int, code: str, part: str
    ) -> None:
        class Refusing(ScriptedServer):
            async def _respond(self, _: web.Request) -> web.StreamResponse:
                self.bodies.append({})
                return web.json_response({"error": {"message": "no", "code": code}}, status=status)

        with Refusing() as server:
            failed = found(target_findings(MODEL, server.base_url), "FAIL")

            assert len(server.bodies) == 1
        assert failed.keys() == {part}

    @pytest.mark.parametrize(("date", "level"), [("Tue, 03 Feb 2015 10:00:00 GMT", "note"), ("not a date", "no such")])
    def test_a_clock_that_is_far_off_is_a_note(self, date: str, level: str) -> None:
        class Late(ScriptedServer):
            async def _respond(self, request: web.Request) -> web.StreamResponse:
                response = await super()._respond(request)
                response.headers["Date"] = date
                return response

        with Late() as server:
            findings = list(target_findings(MODEL, server.base_url))

        clock = {one.level: one.text for one in findings if one.name == "target clock"}
        assert found(iter(findings), "FAIL") == {}
        assert clock.keys() == ({level} & {"note"})
        assert level != "note" or "s behind this machine's" in clock["note"]

    def test_a_thinking_model_that_spends_all_tokens_is_a_note(self) -> None:
        def thinks(_: object) -> dict[str, Any]:
            return completion("", "length", reasoning_content="先想一想……")

        with ScriptedServer(thinks) as server:
            notes = found(target_findings(MODEL, server.base_url), "note")

        assert "give a larger --max-tokens" in notes["target round 1"]


class TestTheWayThere:
    def test_a_port_where_nobody_listens(self) -> None:
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))
            findings = found(target_findings(MODEL, f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"))

        assert "(TCP); is the server running" in findings["target address"]
        assert "target round 1" not in findings

    def test_a_name_that_nobody_knows(self) -> None:
        assert "the name is not known (DNS" in way("http://nobody.invalid/v1", "FAIL")["target address"]

    def test_a_server_that_speaks_plain_http_under_an_https_address(self) -> None:
        with ScriptedServer() as server:
            findings = way(server.base_url.replace("http:", "https:"))

        assert "no TLS" in findings["target address"]
        assert "certificates: the system's" in findings["target route"]

    def test_a_certificate_that_nobody_signed_and_the_variable_that_trusts_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl to make a certificate")
        certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*request, *more], check=True, capture_output=True)

        with tls_server(certificate, key) as port:
            untrusted = way(f"https://127.0.0.1:{port}/v1", "FAIL")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            trusted = way(f"https://127.0.0.1:{port}/v1", "ok")

        assert "name the company's certificate in SSL_CERT_FILE" in untrusted["target address"]
        assert "with a certificate that is trusted" in trusted["target address"]
        assert str(certificate) in trusted["target route"]

    def test_a_certificate_file_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))

        assert "gone.pem, which is not there" in way("https://127.0.0.1:9/v1", "FAIL")["target route"]

    @pytest.mark.parametrize(
        ("env", "said"),
        [
            ({"NO_PROXY": "127.1", "HTTP_PROXY": "http://127.0.0.1:9"}, "direct: NO_PROXY leaves 127.1 out"),
            ({"ALL_PROXY": "http://127.0.0.1:9"}, "ALL_PROXY is not used, set HTTP_PROXY"),
            ({"HTTP_PROXY": "user:hunter2@127.0.0.1:9"}, "through HTTP_PROXY, http://127.0.0.1:9"),
            ({}, "direct: no HTTP_PROXY is set"),
        ],
    )
    def test_which_way_is_taken_and_why(self, env: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)

        assert said in way("http://127.1:9/v1")["target route"]

    @pytest.mark.parametrize("proxy", ["socks5://user:hunter2@127.0.0.1:1080", "http://user:hunter2@127.0.0.1:port"])
    def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
        self, proxy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", proxy)

        findings = way("http://model.example/v1")

        assert "cannot be used; give http://HOST:PORT of an HTTP proxy" in findings["target address"]
        assert "hunter2" not in str(findings)

    def test_a_proxy_that_lets_nobody_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with ScriptedServer() as proxy:  # knows no CONNECT
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
            failed = way("https://model.example/v1", "FAIL")

        assert "gives no tunnel to model.example:443" in failed["target address"]


class TestJudges:
    def test_a_judge_that_can_be_read_is_well(self) -> None:
        with ScriptedServer(lambda _: '{"reason": "好", "score": 2, "confidence": 0.9}') as server:
            findings = list(judge_findings("openai-compatible/j", server.base_url))

            assert len(server.bodies) == 1
        assert {one.level for one in findings} == {"ok"}
        assert found(iter(findings))["judge verdict"] == "one harmless answer was judged: 2"

    def test_each_endpoint_of_a_panel_is_looked_at(self) -> None:
        with ScriptedServer(lambda _: '{"reason": "好", "score": 2, "confidence": 0.9}') as server:
            findings = list(
                judge_findings("panel:openai-compatible/a,openai-compatible/b,offline-fast", server.base_url)
            )

        assert [one.name for one in findings].count("judge address") == 2
        assert findings[-1].level == "ok"

    def test_a_judge_without_an_endpoint_judges_too(self) -> None:
        assert found(judge_findings("offline-fast", None)).keys() == {"judge verdict"}

    def test_a_judge_that_nobody_knows_is_a_failed_check(self) -> None:
        assert (
            "give offline, offline-large, offline-fast"
            in found(judge_findings("nonsense", None), "FAIL")["judge verdict"]
        )


class TestThisMachine:
    @pytest.mark.parametrize(("free_mib", "level"), [(None, "note"), (300, "FAIL"), (600, "note"), (2_000, "ok")])
    def test_an_embedded_model_wants_its_size_and_room_for_its_context(self, free_mib: int | None, level: str) -> None:
        assert memory_finding("memory", 400 << 20, None if free_mib is None else free_mib << 20).level == level

    def test_proxies_and_addresses_lead_nothing_away_that_is_meant_for_this_machine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env = {"HTTP_PROXY": "http://proxy.example:1", "HF_ENDPOINT": "https://mirror.example", "PATH": "/bin"}
        for name, value in env.items():
            monkeypatch.setenv(name, value)

        assert addresses_elsewhere(env) == []
        assert addresses_named(env) == ["HF_ENDPOINT", "HTTP_PROXY"]


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[int]:
    """Shakes hands and says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
