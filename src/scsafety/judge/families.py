"""Which models are relatives: a judge is kinder to its own family, so a run whose judge is one says so.

Source: arena and judge studies find a lead of a few percent for the judge's own family (Zheng et al. 2023,
arXiv:2306.05685, section 3.3, self-enhancement).
"""

from __future__ import annotations

import re

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
