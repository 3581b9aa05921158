"""`--otel`: spans by the GenAI semantic conventions, to whom the user's environment names and to nobody else."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from scsafety import api
from scsafety.engine.events import Progress
from scsafety.engine.settings import Policy
from scsafety.engine.tracing import tracing
from tests.program import said, scsafety
from tests.scripted_server import ANSWERS, ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.program import Done

HAS_OTLP = bool(entry_points(group="opentelemetry_traces_exporter", name="otlp_proto_http"))


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[ReadableSpan]:
    folder = tmp_path_factory.mktemp("traced")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    faults = {pair(1).question: ["429"], pair(2).question: ["html"] * 9, pair(3).question: ["content_filter"]}

    def judged(_: list[dict[str, str]]) -> str:
        return '{"reason": "因为", "score": 1, "confidence": 0.5}'

    with ScriptedServer(faults=faults) as server, ScriptedServer(judged) as judging, tracing(provider) as sink:
        api.run(
            "openai-compatible/a/b",  # a model's name may hold a slash
            base_url=server.base_url,
            judge="openai-compatible/j",
            judge_base_url=judging.base_url,
            bank=[write_bank(folder / "bank.jsonl", [pair(n) for n in range(1, 4)])],
            out=folder,
            name="r",
            policy=Policy(max_attempts=2),
            watch=api.Watch(progress=Progress(on_event=sink)),
        )
    return list(exporter.get_finished_spans())


def of(
    spans: list[ReadableSpan], item: str, role: str = "target", round_: int = 1
) -> tuple[ReadableSpan, dict[str, Any]]:
    (span,) = [
        span
        for span in spans
        if dict(span.attributes or {}).items() >= {"scsafety.item": item, "scsafety.round": round_}.items()
        and (span.attributes or {}).get("gen_ai.request.model") == ("a/b" if role == "target" else "j")
    ]
    return span, dict(span.attributes or {})


def test_every_call_is_a_span_within_the_sitting(spans: list[ReadableSpan]) -> None:
    *calls, sitting = spans

    assert (sitting.name, sitting.parent) == ("sitting r", None)
    assert (
        dict(sitting.attributes or {}).items()
        >= {"scsafety.why": "done", "scsafety.judge": "openai-compatible/j"}.items()
    )
    assert {span.name for span in calls} == {"chat a/b", "chat j"}
    assert all(span.kind is SpanKind.CLIENT for span in calls)
    assert all(span.parent is not None and span.parent.span_id == sitting.context.span_id for span in calls)
    assert sum(span.name == "chat a/b" for span in calls) == 5
    assert sum(span.name == "chat j" for span in calls) == 3  # of four answers one is a block, which the rules settle


def test_a_span_has_the_attributes_of_the_conventions(spans: list[ReadableSpan]) -> None:
    span, attributes = of(spans, pair(1).id, round_=2)

    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai-compatible",
        "gen_ai.system": "openai-compatible",
        "gen_ai.request.model": "a/b",
        "gen_ai.response.model": "scripted-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "scsafety.item": pair(1).id,
        "scsafety.epoch": 1,
        "scsafety.round": 2,
        "scsafety.endpoint": "openai-compatible/a/b",
        "scsafety.outcome": "answered",
        "scsafety.latency_s": attributes["scsafety.latency_s"],
        "scsafety.elapsed_s": attributes["scsafety.elapsed_s"],
        "scsafety.attempts": 1,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert of(spans, pair(1).id, "judge")[1]["scsafety.judge"].startswith("openai-compatible/j@")


def test_a_span_covers_retries_and_the_waits_between_them(spans: list[ReadableSpan]) -> None:
    span, attributes = of(spans, pair(1).id)

    assert attributes["scsafety.attempts"] == 2
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0.2e9 < span.end_time - span.start_time == pytest.approx(attributes["scsafety.elapsed_s"] * 1e9, abs=1e6)


def test_a_failure_is_an_error_of_its_kind_and_a_block_is_none(spans: list[ReadableSpan]) -> None:
    lost, about_lost = of(spans, pair(2).id)
    blocked, about_blocked = of(spans, pair(3).id)

    assert (lost.status.status_code, about_lost["error.type"]) == (StatusCode.ERROR, "transient")
    assert (blocked.status.status_code, about_blocked.get("error.type")) == (StatusCode.UNSET, None)
    assert about_blocked["scsafety.outcome"] == "blocked_output"


def test_no_span_holds_what_was_said(spans: list[ReadableSpan]) -> None:
    text = json.dumps([json.loads(span.to_json()) for span in spans], ensure_ascii=False)

    assert text.isascii()


def run(folder: Path, server: ScriptedServer, *more: str, **env: str) -> Done:
    bank = write_bank(folder / "bank.jsonl", [pair(1)])
    return scsafety(
        "run", "--model", "openai-compatible/x", "--base-url", server.base_url, "--judge", "offline-fast", "--bank", bank,
        "--name", "r", *more, cwd=folder, env=env,
    )  # fmt: skip


def test_the_exporter_is_the_one_that_the_environment_names(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = run(tmp_path, server, "--otel", OTEL_TRACES_EXPORTER="console", OTEL_RESOURCE_ATTRIBUTES="team=safety")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"name": "chat x"') == 2
    assert '"team": "safety"' in done.stdout
    assert '"service.name": "scsafety"' in done.stdout
    assert not any(answer[:6] in done.stdout for answer in ANSWERS)


def test_log_and_trace_can_be_kept_at_once(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = run(tmp_path, server, "--otel", "--log-json", "log.jsonl", OTEL_TRACES_EXPORTER="console")

    assert done.stdout.count('"name": "chat x"') == 2
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8").count('"event":"turn"') == 2


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            {},
            "'otlp_proto_http' is installed (OTEL_TRACES_EXPORTER): pip install opentelemetry-exporter-otlp-proto-http",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "pip install opentelemetry-exporter-otlp-proto-grpc"),
        ({"OTEL_TRACES_EXPORTER": "nobody"}, "no exporter 'nobody' is installed"),
    ],
)
@pytest.mark.skipif(HAS_OTLP, reason="an OTLP exporter is installed here")
def test_an_exporter_that_is_not_installed_is_named_before_anybody_is_asked(
    env: dict[str, str], words: str, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        done = run(tmp_path, server, "--otel", **env)

    assert done.returncode == 2
    assert words in said(done)
    assert server.bodies == []
    assert not (tmp_path / "runs/r").exists()


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden/opentelemetry").mkdir(parents=True)  # a package of that name with nothing in it
    (tmp_path / "hidden/opentelemetry/__init__.py").touch()
    path = os.pathsep.join([str(tmp_path / "hidden"), *filter(None, sys.path)])
    monkeypatch.setenv("PYTHONPATH", path)

    with ScriptedServer() as server:
        done = run(tmp_path, server, "--otel")

    assert done.returncode == 2
    assert said(done) == "scsafety: --otel needs OpenTelemetry: pip install 'scsafety[otel]'"
    assert server.bodies == []


def test_the_environments_variables_alone_turn_nothing_on(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = run(tmp_path, server, OTEL_TRACES_EXPORTER="nobody")

    assert done.returncode == 0, done.stderr
