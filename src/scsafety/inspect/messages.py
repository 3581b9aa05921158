"""Our messages and turns as Inspect's, and a model of Inspect's as a target."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    StopReason,
)

from scsafety.records import Message, Reply, Sampling, Side, whole_characters
from scsafety.targets.providers import providers
from scsafety.targets.thinking import split_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inspect_ai.model import Model

    from scsafety.dialogue.hold import FlaggedText
    from scsafety.records import Turn

CUT = "length"  # what a summary counts as cut at the token limit
STOP_REASONS: dict[str, StopReason] = {"stop": "stop", CUT: "max_tokens", "content_filter": "content_filter"}


class InspectTarget:
    """A model of Inspect's, asked as any target of ours: as the target itself, or behind an LLM judge.

    Inspect retries by its own rules; a call that fails in the end is the sample's error, as everywhere in Inspect.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.label = str(model)
        self.output: ModelOutput | None = None  # the last one, as Inspect has it

    async def ask(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        json_schema: dict[str, Any] | None = None,  # noqa: ARG002 (not every provider takes one, and the prompt asks for JSON)
    ) -> Reply:
        began = time.monotonic()
        output = await self._model.generate([chat_message(message) for message in messages], config=config_of(sampling))
        self.output = output
        return reply_of(output, elapsed_s=time.monotonic() - began)


def flagged_text_for(model: str) -> FlaggedText:
    """What the vendor in the model's name asks for, as `provider/model` or `openai-api/provider/model`."""
    named = set(model.split("/"))
    return next((one.flagged_text for one in providers() if named & {one.id, *one.aliases}), "send")


def config_of(sampling: Sampling) -> GenerateConfig:
    """What is None is left to Inspect's own configuration."""
    return GenerateConfig(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        top_p=sampling.top_p,
        stop_seqs=list(sampling.stop) or None,
    )


def sampling_of(config: GenerateConfig) -> Sampling:
    return Sampling(
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
        top_p=config.top_p,
        stop=tuple(config.stop_seqs or ()),
    )


def reply_of(output: ModelOutput, *, elapsed_s: float) -> Reply:
    text, reasoning, _ = split_reasoning(whole_characters(output.completion))
    message = output.choices[0].message if output.choices else None
    if message is not None and not isinstance(message.content, str):
        thought = [part.reasoning for part in message.content if isinstance(part, ContentReasoning) and part.reasoning]
        reasoning = whole_characters("\n".join(thought)) or reasoning
    usage, stop = output.usage, output.stop_reason if output.choices else None
    blocked: Side | None = None
    if stop == "content_filter":
        # where nothing was generated, Inspect puts the vendor's own message in the answer's place
        blocked = "output" if usage is not None and usage.output_tokens and text.strip() else "unknown"
    return Reply(
        content="" if blocked == "unknown" else text,
        reasoning=reasoning,
        finish_reason=CUT if stop in ("max_tokens", "model_length") else stop,
        blocked=blocked,
        model=output.model or None,
        request_id=output.response_id,
        latency_s=output.time or elapsed_s,
        prompt_tokens=None if usage is None else _prompt_tokens(usage),
        completion_tokens=None if usage is None else usage.output_tokens,
        elapsed_s=elapsed_s,
        raw=text[:4_000] if blocked == "unknown" else None,
    )


def _prompt_tokens(usage: ModelUsage) -> int:
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)


def usage_of(turns: Iterable[Turn]) -> ModelUsage:
    replies = [turn.reply for turn in turns if turn.reply is not None]
    return tokens(sum(one.prompt_tokens or 0 for one in replies), sum(one.completion_tokens or 0 for one in replies))


def tokens(prompt: int, completion: int) -> ModelUsage:
    return ModelUsage(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion)


def chat_message(message: Message) -> ChatMessage:
    if message.role == "system":
        return ChatMessageSystem(content=message.content)
    if message.role == "user":
        return ChatMessageUser(content=message.content)
    return ChatMessageAssistant(content=message.content)


def conversation(turns: Sequence[Turn]) -> list[ChatMessage]:
    """What was said: each answer as it was given, not as a placeholder showed it to the next round."""
    said: list[ChatMessage] = []
    for turn in turns:
        if not turn.kept:
            continue
        if not said:
            said += [chat_message(message) for message in turn.messages[:-1]]
        said.append(chat_message(turn.messages[-1]))
        if turn.reply is not None:
            said.append(_answer(turn.reply))
    return said


def _answer(reply: Reply) -> ChatMessageAssistant:
    if not reply.reasoning:
        return ChatMessageAssistant(content=reply.content)
    content: list[Content] = [ContentReasoning(reasoning=reply.reasoning), ContentText(text=reply.content)]
    return ChatMessageAssistant(content=content)


def output_of(turns: Sequence[Turn], model: str) -> ModelOutput:
    """The last answer."""
    answered = [turn.reply for turn in turns if turn.kept and turn.reply is not None]
    if not answered:
        return ModelOutput(model=model)
    last = answered[-1]
    stop = "content_filter" if last.blocked else STOP_REASONS.get(last.finish_reason or "", "unknown")
    return ModelOutput(
        model=last.model or model,
        choices=[ChatCompletionChoice(message=_answer(last), stop_reason=stop)],
        usage=tokens(last.prompt_tokens or 0, last.completion_tokens or 0),
        time=last.latency_s,
    )
