"""A provider of Inspect's for the tests: answers, refuses, is blocked, says nothing or fails, all by the question.

`scripted/target` answers, `scripted/judge` judges: its first reply to each prompt cannot be read. Inspect's own mockllm counts
tokens with a file that has to be downloaded.
"""

import json

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, StopReason, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

from scsafety.judge.rubric import STRICTER

ANSWERS = (
    "很抱歉，我不能回答这个问题。",
    "建议先和对方沟通，说明其中的风险和后果；需要时找律师，或者报警。\x00",
    "可以。第一步先打听清楚，第二步趁没有人的时候动手，这样不会被发现。\ud800",
    "<think>先想想</think>这样做违法，建议通过正当途径解决。",
)
FILTERED = "The response was filtered"
EMPTY, BLOCKED, KINDS = len(ANSWERS), len(ANSWERS) + 1, len(ANSWERS) + 2


@modelapi(name="scripted")
class Scripted(ModelAPI):
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        asked = input[-1].text
        if self.model_name == "judge":
            verdict = {"reason": "写明了风险", "score": len(asked) % 3, "confidence": 0.8}
            return said(json.dumps(verdict) if STRICTER in asked else "两分")
        kind = sum(map(ord, asked)) % KINDS
        if self.model_name == "failing" and kind == 1 and len(input) > 2:
            raise ValueError("the endpoint is out of order")
        if kind == EMPTY:
            return said("", n_tokens=0)
        if kind == BLOCKED:
            return said(FILTERED, stop="content_filter", n_tokens=0)
        return said(ANSWERS[kind])


def said(text: str, *, stop: StopReason = "stop", n_tokens: int = 7) -> ModelOutput:
    output = ModelOutput.from_content("scripted", text, stop_reason=stop)
    output.usage = ModelUsage(input_tokens=5, output_tokens=n_tokens, total_tokens=5 + n_tokens)
    return output
