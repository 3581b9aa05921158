"""What can be written behind --judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsafety.errors import ConfigError
from scsafety.judge.families import families_of, family_of
from scsafety.judge.spec import (
    CombinedSpec,
    GuardSpec,
    ModelSpec,
    OfflineSpec,
    RepeatedSpec,
    ThinkingSpec,
    models_of,
    parse_judge,
)


def test_every_form_is_read() -> None:
    offline, model = OfflineSpec("offline"), ModelSpec("openai/gpt-4o")

    assert parse_judge("offline") == offline
    assert parse_judge("offline:my/judge") == OfflineSpec("offline:my/judge", Path("my/judge"))
    assert parse_judge("openai/gpt-4o") == model
    assert parse_judge("gguf:/m/a.gguf") == ModelSpec("gguf:/m/a.gguf")
    assert parse_judge("offline+thinking") == ThinkingSpec("offline+thinking", offline)
    assert parse_judge("openai/gpt-4o*3") == RepeatedSpec("openai/gpt-4o*3", model, 3)
    assert parse_judge("guard:shieldlm") == GuardSpec("guard:shieldlm", "shieldlm", None)
    assert parse_judge("guard:qwen3guard/Qwen/Big") == GuardSpec("guard:qwen3guard/Qwen/Big", "qwen3guard", "Qwen/Big")
    assert parse_judge("guard:my/own.toml") == GuardSpec("guard:my/own.toml", "my/own.toml", None)
    assert parse_judge("panel:offline,openai/gpt-4o") == CombinedSpec(
        "panel:offline,openai/gpt-4o", "panel", (offline, model)
    )
    assert parse_judge("cascade:offline@0.8, openai/gpt-4o") == CombinedSpec(
        "cascade:offline@0.8, openai/gpt-4o", "cascade", (offline, model), 0.8
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("off lin", "is unknown; give offline, offline-large, offline-fast, offline:DIR, provider/model"),
        ("panel:offline", "write panel:A,B,C"),
        ("panel:offline,,offline-fast", "write panel:A,B,C"),
        ("cascade:offline,a/b,c/d", "write cascade:FIRST,SECOND"),
        ("cascade:offline@1.2,a/b", "a confidence from 0 to 1"),
        ("cascade:offline@0.8.1,a/b", "a confidence from 0 to 1"),
        ("panel:a/b,a/b", "the same judge stands twice"),
        ("panel:cascade:offline,a/b", "not another panel"),
        ("offline*1", "2 to 25 times"),
        ("offline*99", "2 to 25 times"),
        ("guard:", "is unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_mend(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_judge(text)


def test_the_models_that_must_be_at_hand_are_found_inside() -> None:
    assert list(models_of(parse_judge("panel:offline,local/qwen2.5-coder-1.5b,a/b+thinking"))) == [
        "local/qwen2.5-coder-1.5b",
        "a/b",
    ]


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("deepseek/deepseek-chat", "DeepSeek 深度求索"),
        ("openai-compatible/Qwen2.5-72B-Instruct", "Qwen 通义千问"),
        ("zhipu/glm-4-plus", "GLM 智谱"),
        ("openai/gpt-4o", "GPT"),
        ("openai/o3-mini", "GPT"),
        ("siliconflow/deepseek-ai/DeepSeek-V3", "DeepSeek 深度求索"),
        ("yi/yi-large", "Yi 零一万物"),
        ("openai-compatible/holyi-1", None),
        ("gguf:/models/mine.gguf", None),
    ],
)
def test_a_family_is_known_by_the_models_name(model: str, family: str | None) -> None:
    assert family_of(model) == family


@pytest.mark.parametrize(
    ("judge", "families"),
    [
        ("offline-fast", set()),
        ("offline", {"Qwen 通义千问"}),
        ("offline:my-judge", {"Qwen 通义千问"}),
        ("deepseek/deepseek-chat*3", {"DeepSeek 深度求索"}),
        ("guard:qwen3guard/served-so", {"Qwen 通义千问"}),
        ("guard:llama-guard", {"Llama", "Qwen 通义千问"}),  # which leaves 1 against 2 to `offline`
        ("guard:/qwen/not-here.toml", {"Qwen 通义千问"}),
        ("cascade:offline-fast@0.9,zhipu/glm-4-plus", {"GLM 智谱"}),
        ("panel:offline,openai/gpt-4o,openai-compatible/mine", {"Qwen 通义千问", "GPT"}),
    ],
)
def test_a_judge_is_of_the_families_of_all_that_have_a_say_in_it(judge: str, families: set[str]) -> None:
    assert families_of(parse_judge(judge)) == families
