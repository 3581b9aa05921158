"""Thinking is taken apart from the answer, whichever way an endpoint mixes the two."""

from __future__ import annotations

from typing import Any

import pytest

from scsafety.targets.thinking import reasoning_of, split_reasoning


@pytest.mark.parametrize(
    ("content", "answer", "reasoning", "closed"),
    [
        pytest.param("你好", "你好", None, True, id="no thinking"),
        pytest.param("", "", None, True, id="nothing at all"),
        pytest.param("<think>想</think>答", "答", "想", True, id="a block and an answer"),
        pytest.param("\n\n<think>\n想\n</think>\n\n答\n", "答", "想", True, id="with blank lines"),
        pytest.param("想</think>答", "答", "想", True, id="the opening tag is missing"),
        pytest.param("◁think▷想◁/think▷答", "答", "想", True, id="kimi's marks"),
        pytest.param("想◁/think▷答", "答", "想", True, id="kimi's marks, opening missing"),
        pytest.param("<THINK>想</Think>答", "答", "想", True, id="capitals"),
        pytest.param("<think>\n\n</think>\n\n答", "答", None, True, id="empty thinking"),
        pytest.param("<think>甲</think><think>乙</think>答", "答", "甲\n乙", True, id="two blocks"),
        pytest.param("<think>想不完", "", "想不完", False, id="never closed"),
        pytest.param("<think>甲</think><think>乙", "", "甲\n乙", False, id="the second never closed"),
        pytest.param("<think>想</think>", "", "想", True, id="thinking and no answer"),
        pytest.param("答 <think>想</think> 续", "答 <think>想</think> 续", None, True, id="not at the start"),
        pytest.param("用 `</think>` 结束", "用 `</think>` 结束", None, True, id="an answer about the tag"),
        pytest.param("<think>想</think>标签 </think> 呢", "标签 </think> 呢", "想", True, id="a tag in the answer"),
        pytest.param("<|begin_of_box|>42<|end_of_box|>", "42", None, True, id="GLM's box"),
    ],
)
def test_a_leading_block_of_thinking_is_no_part_of_the_answer(
    content: str, answer: str, reasoning: str | None, closed: bool
) -> None:
    assert split_reasoning(content) == (answer, reasoning, closed)


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"content": "答"}, None),
        ({"reasoning": "想"}, "想"),
        ({"reasoning_content": "想"}, "想"),
        ({"reasoning": "想", "reasoning_details": [{"text": "想"}]}, "想"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "甲"}, {"text": "乙"}]}, "甲\n乙"),
        ({"reasoning_content": "", "reasoning": None, "reasoning_details": []}, None),
        ({"reasoning": {"effort": "low"}, "reasoning_details": ["x", {"text": 3}]}, None),
    ],
)
def test_every_spelling_of_the_reasoning_field_is_read(message: dict[str, Any], reasoning: str | None) -> None:
    assert reasoning_of(message) == reasoning
