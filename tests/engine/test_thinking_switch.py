"""`--thinking on|off`: by the provider's own field, part of what makes a run this run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scsafety import api
from scsafety.engine.opening import thinking_body
from scsafety.errors import ConfigError, TargetStop
from scsafety.targets.providers import find_provider, providers, resolve, thinking_fields
from tests.scripted_server import ScriptedServer
from tests.small_bank import pair, write_bank

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, server: ScriptedServer, model: str = "vllm/qwen3-8b", **more: Any) -> api.RunResult:
    folder.mkdir(exist_ok=True)
    bank = write_bank(folder / "bank.jsonl", [pair(1)])
    return api.run(model, base_url=server.base_url, judge="offline-fast", bank=[bank], out=folder, name="r", **more)


@pytest.mark.parametrize(
    ("model", "thinking", "fields"),
    [
        ("deepseek/deepseek-v4-pro", "off", {"thinking": {"type": "disabled"}}),
        ("deepseek/deepseek-v4-pro", "on", {"thinking": {"type": "enabled"}}),
        ("qwen/qwen-plus", "off", {"enable_thinking": False}),
        ("glm/glm-4.6", "on", {"thinking": {"type": "enabled"}}),
        ("kimi/kimi-k2.5", "off", {"thinking": {"type": "disabled"}}),
        ("siliconflow/Qwen/Qwen3-8B", "on", {"enable_thinking": True}),
        ("vllm/Qwen/Qwen3-8B", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm/deepseek-ai/DeepSeek-V3.1", "on", {"chat_template_kwargs": {"thinking": True}}),
        ("sglang/deepseek-ai/DeepSeek-V3.2", "off", {"chat_template_kwargs": {"thinking": False}}),
        ("llamacpp/x", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("ollama/qwen3:8b", "off", {"reasoning_effort": "none"}),
    ],
)
def test_each_provider_has_its_own_field(model: str, thinking: Any, fields: dict[str, Any]) -> None:
    provider = find_provider(model.partition("/")[0])
    assert provider is not None

    assert thinking_fields(resolve(model, environ=dict.fromkeys(provider.key_vars, "sk-x")), thinking) == fields


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("openai-compatible/x", "off"),
        ("openai/o3-mini", "off"),
        ("kimi/moonshot-v1-8k", "on"),
        ("qwen/qwen-plus", "on"),  # only with streaming
        ("spark/4.0Ultra", "on"),
    ],
)
def test_without_a_known_switch_the_user_is_sent_to_extra(model: str, thinking: Any) -> None:
    provider = find_provider(model.partition("/")[0])
    assert provider is not None
    base_url = "http://127.0.0.1:9/v1" if provider.base_url is None else None

    with pytest.raises(ConfigError, match="--extra"):
        api.plan(
            model,
            base_url=base_url,
            thinking=thinking,
            environ=dict.fromkeys(provider.key_vars, "sk-x"),
            judge="offline-fast",
        )


def test_a_row_never_switches_by_a_field_that_it_drops() -> None:
    for provider in providers():
        for rules in (provider, *(provider.for_model(rule.match.strip("^")) for rule in provider.models)):
            for fields in (rules.thinking.on, rules.thinking.off):
                assert not set(fields or {}) & {*rules.drop, "model", "messages", "stream"}


def test_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="--thinking maybe: give on or off"):
        api.plan("vllm/x", thinking="maybe", judge="offline-fast", environ={})


def test_an_embedded_model_is_switched_only_where_the_user_brings_it(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()

    assert thinking_body(f"gguf:{tmp_path / 'm.gguf'}", None, "off") == {
        "chat_template_kwargs": {"enable_thinking": False}
    }
    with pytest.raises(ConfigError, match="has no thinking to switch"):
        api.plan("local/qwen2.5-coder-0.5b", thinking="on", judge="offline-fast", environ={})


def test_every_request_of_a_run_carries_the_switch_and_extra_wins_over_it(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        run(tmp_path, server, thinking="off")
        run(tmp_path / "own", server, thinking="off", extra={"chat_template_kwargs": {"thinking_mode": "none"}})

        sent = [body["chat_template_kwargs"] for body in server.bodies]
    assert sent == [{"enable_thinking": False}] * 2 + [{"thinking_mode": "none"}] * 2


def test_it_is_part_of_the_runs_identity(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        result = run(tmp_path, server, thinking="off")
        api.resume("r", out=tmp_path, thinking="off")
        with pytest.raises(ConfigError, match=r"resume cannot change the thinking \(--thinking\) \(off -> on\)"):
            api.resume("r", out=tmp_path, thinking="on")

    assert result.summary.settings.thinking == "off"


def test_an_endpoint_that_refuses_the_switch_stops_the_run(tmp_path: Path) -> None:
    """Left out, as other refused parameters are, it would give answers of another kind under the same name."""

    class Refusing(ScriptedServer):
        async def _respond(self, request: web.Request) -> web.StreamResponse:
            if "chat_template_kwargs" in await request.json():
                error = {"message": "Unsupported parameter", "param": "chat_template_kwargs"}
                return web.json_response({"error": error}, status=400)
            return await super()._respond(request)

    with Refusing() as server, pytest.raises(TargetStop, match=r"refuses chat_template_kwargs.*leave out --thinking"):
        run(tmp_path, server, thinking="on")

    assert server.bodies == []
