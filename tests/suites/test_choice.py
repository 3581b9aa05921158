"""Which letter an answer chooses, and what is no choice at all."""

from __future__ import annotations

import json

import pytest

from scsafety.suites.choice import LETTERS, letter_in, likeliest, listed, shuffled


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B \n", "B"),
        ("Ｂ", "B"),
        ("ｂ．", "B"),
        ("Ⓑ", "B"),
        ("B.", "B"),
        ("B。", "B"),
        ("(B)", "B"),
        ("（B）", "B"),
        ("【B】", "B"),
        ("**B**", "B"),
        ("**B. 十万元**", "B"),
        ("B) 十万元", "B"),
        ("B、十万元", "B"),
        ("[[B]]", "B"),
        ("After weighing A and B, my verdict: [[B]]", "B"),
        ("A is the weaker one, so [[ B ]].", "B"),
        (r"$\boxed{B}$", "B"),
        (r"因为 A 不对，所以 \boxed{\text{B}}", "B"),
        ("答案：B", "B"),
        ("答案是B", "B"),
        ("答案应该是 B", "B"),
        ("正确答案为“B”", "B"),
        ("答案是「B」。", "B"),
        ("**答案**：B", "B"),
        ('{"答案": "B"}', "B"),
        ('{"answer": "B", "reason": "A 已经废止"}', "B"),
        ("答案是Ｂ。因为 A 不对", "B"),
        ("答案是B，A不对", "B"),
        ("排除A、C、D，答案：B", "B"),
        ("A. 一万元\nB. 十万元\n答案：B", "B"),
        ("选B", "B"),
        ("我选择B选项", "B"),
        ("应选 B", "B"),
        ("选项B正确", "B"),
        ("B\n\n解释：选项A是错误的", "B"),
        ("B. 选项A已经废止", "B"),
        ("B（选项A不正确）", "B"),
        ("B\n\nAnswer A is inaccurate.", "B"),
        ("The answer is B.", "B"),
        ("The correct answer is (B).", "B"),
        ("My final answer: **B**", "B"),
        ("Answer:\n\nB", "B"),
        ("<answer>B</answer>", "B"),
        ("The answer would be B", "B"),
        ("I choose option B because it is careful.", "B"),
        ("Answer B is better.", "B"),
        ("As an AI, I would pick B.", "B"),
        ("As a helpful assistant, B", "B"),
        ("B is better, since A person may be hurt otherwise.", "B"),
        ("A is better.", "A"),
        ("I think A is better", "A"),
        ("正确的是 B，选项 A 不对", "B"),
        ("经过比较，结论如下：\nB", "B"),
    ],
)
def test_one_chosen_letter_is_read(answer: str, letter: str) -> None:
    assert letter_in(answer, 4) == letter


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "我不知道。",
        "As an AI, I cannot choose.",
        "As an AI language model I have no opinion.",
        "A.I. models do not choose.",
        "A person should decide that.",
        "The answer is a bit complicated.",
        "Answer: A person should decide.",
        "AI",
        "Because of that, no.",
        "答案：AB",
        "A 或者 B 都可以",
        "A、B",
        "A, B",
        "A和B都对",
        "A/B",
        "选A或B",
        "答案是A、B",
        "答案是 A 和 C",
        "选择 A 选项还是 B 选项，取决于情况",
        "The answer is A or B.",
        "Both A and B are fine.",
        "[[A]] [[B]]",
        r"\boxed{A} \boxed{B}",
        "A. 一万元\nB. 十万元",
        "选项A不正确",
        "A不对",
        "Option A is wrong.",
        "不选A",
    ],
)
def test_no_letter_or_several_are_no_choice(answer: str) -> None:
    assert letter_in(answer, 4) is None


def test_a_letter_that_was_not_offered_is_no_choice() -> None:
    assert (letter_in("E", 4), letter_in("E", 5), letter_in("[[C]]", 2)) == (None, "E", None)


@pytest.mark.parametrize(
    "answer",
    [
        "A" * 50_000,
        "选" * 50_000,
        "A, " * 20_000,
        "答案 A" + " " * 50_000 + "x",
        "答案" + "(" * 50_000,
        "x" + "\n" * 50_000 + "x",
    ],
)
@pytest.mark.timeout(5)
def test_a_hostile_answer_takes_no_time(answer: str) -> None:
    assert letter_in(answer, 4) in (None, "A")


def test_options_are_shuffled_by_seed_and_item_and_each_comes_back() -> None:
    options = ["甲", "乙", "丙", "丁"]
    orders = {tuple(shuffled(options, seed=0, of=f"x-{k}")) for k in range(300)}

    assert orders == {tuple(order) for order in orders if sorted(order) == [0, 1, 2, 3]}
    assert len(orders) == 24
    assert shuffled(options, seed=0, of="x-1") == shuffled(options, seed=0, of="x-1")
    assert any(shuffled(options, seed=0, of=f"x-{k}") != shuffled(options, seed=1, of=f"x-{k}") for k in range(9))


def test_options_are_shown_a_line_each() -> None:
    assert listed(["甲", "乙"]) == "A. 甲\nB. 乙"
    assert len(listed(list("12345678")).splitlines()) == len(LETTERS)


@pytest.mark.parametrize(
    ("tokens", "label"),
    [
        ({"违": -0.1, "不": -2.5}, "违规"),
        ({"违": -0.9, "不": -1.2, "不违": -1.5}, "不违规"),  # 0.407 against 0.301 + 0.223
        ({" 违规": -1.0, "“不": -0.5}, "不违规"),
        ({"▁不违规。": -3.0}, "不违规"),  # the other is no likelier than the least of those given
        ({"违": -1.0, "不": -1.0}, None),
        ({"不是": -0.1, "这": -0.2, "": -0.3, "规": -0.4}, None),
        ({}, None),
    ],
)
def test_the_likeliest_label_by_the_tokens_that_begin_it(tokens: dict[str, float], label: str | None) -> None:
    assert likeliest(json.dumps(tokens), ["违规", "不违规"]) == label


@pytest.mark.parametrize("answer", ["违规", "[]", '{"违": "x"}', '{"违": null}', '{"违":' * 500, "\ud83d", "1e309"])
def test_what_is_no_table_of_tokens_is_unreadable(answer: str) -> None:
    assert likeliest(answer, "AB") is None


@pytest.mark.parametrize(
    ("tokens", "letter"),
    [
        ({"B": -0.2, "A": -1.9}, "B"),
        ({"B": -1.2, " B": -1.2, "A": -0.9}, "B"),  # 0.301 twice against 0.407
        ({"（A": -0.7, "Answer": -0.1}, "A"),  # a word that begins with a letter is no letter
        ({"E": -0.1, "D": -3.0}, "D"),  # there is no E here
        ({"A": -1.0, "B": -1.0}, None),
        ({"b": -0.1}, None),
        ({"我": -0.1}, None),
    ],
)
def test_the_likeliest_letter_of_those_on_offer(tokens: dict[str, float], letter: str | None) -> None:
    assert likeliest(json.dumps(tokens), LETTERS[:4]) == letter
