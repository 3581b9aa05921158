"""Which models are relatives: a judge is kinder to its own family, so a run whose judge is one says so.

Source: arena and judge studies find a lead of a few percent for the judge's own family (Zheng et al. 2023,
arXiv:2306.05685, section 3.3, self-enhancement).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from scsafety.errors import ConfigError
from scsafety.judge.guard import load_guard
from scsafety.judge.spec import GuardSpec, members_of, models_of, networks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.judge.spec import JudgeSpec

OFFLINE_BASE = "qwen2.5-coder"  # what every judge of `judge-train` is made from

FAMILIES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "Qwen 通义千问": r"qwen|qwq|qvq|tongyi|dashscope",
        "DeepSeek 深度求索": r"deepseek",
        "GLM 智谱": r"\bglm|chatglm|zhipu",
        "Kimi 月之暗面": r"kimi|moonshot",
        "ERNIE 文心": r"ernie|wenxin|qianfan",
        "Hunyuan 混元": r"hunyuan",
        "Doubao 豆包": r"doubao|skylark",
        "Spark 讯飞星火": r"\bspark",
        "Baichuan 百川": r"baichuan",
        "Yi 零一万物": r"(?:^|/)yi-",
        "MiniMax": r"minimax|abab",
        "Step 阶跃星辰": r"stepfun|(?:^|/)step-",
        "InternLM 书生": r"internlm",
        "GPT": r"\bgpt-|openai/|\bo[134](?:-|$)",
        "Claude": r"claude|anthropic",
        "Gemini": r"gemini|gemma",
        "Llama": r"llama-?[0-9g]",
        "Mistral": r"mistral|mixtral",
    }.items()
}


def family_of(model: str) -> str | None:
    """The family that a model's name betrays; None where it does not.

    >>> family_of("dashscope/qwen-max"), family_of("local/qwen2.5-coder-0.5b")
    ('Qwen 通义千问', 'Qwen 通义千问')
    >>> family_of("openai-compatible/my-model") is None
    True
    """
    name = model.removeprefix("openai-compatible/")
    return next((family for family, pattern in FAMILIES.items() if pattern.search(name)), None)


def families_of(judge: JudgeSpec) -> frozenset[str]:
    """The families of all that have a say in a judge: models, guards, and what an offline judge is made from."""
    names = [*models_of(judge), *_guards_of(judge), *(OFFLINE_BASE for _ in networks_of(judge))]
    return frozenset(family for name in names if (family := family_of(name)) is not None)


def _guards_of(judge: JudgeSpec) -> Iterator[str]:
    if isinstance(judge, GuardSpec):
        if judge.model is not None:
            yield judge.model
        with suppress(ConfigError):  # a file that is not here
            yield load_guard(judge.guard).model
    for member in members_of(judge):
        yield from _guards_of(member)
