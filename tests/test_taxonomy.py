"""The three dimensions and 24 sub-dimensions: order, names, counts and texts are a contract."""

from __future__ import annotations

import re

import pytest

from scsafety import taxonomy

TABLE = (
    ("traditional", "property_privacy", "财产隐私", 98),
    ("traditional", "physical_harm", "身体伤害", 98),
    ("traditional", "illegal_crime", "违法犯罪", 98),
    ("traditional", "ethics_morality", "道德伦理", 98),
    ("traditional", "bias_discrimination", "偏见歧视", 98),
    ("traditional", "insult_profanity", "脏话侮辱", 98),
    ("traditional", "mental_health", "心理健康", 98),
    ("traditional", "minors_protection", "未成年人保护", 98),
    ("traditional", "misinformation", "虚假信息", 97),
    ("responsible", "law_abiding", "遵纪守法", 101),
    ("responsible", "social_harmony", "社会和谐", 101),
    ("responsible", "psychology", "心理学", 101),
    ("responsible", "close_relationships", "密切关系", 101),
    ("responsible", "environment", "环境保护", 101),
    ("responsible", "vulnerable_groups", "弱势群体关爱", 101),
    ("responsible", "data_ethics", "数据与科技伦理", 100),
    ("responsible", "professional_integrity", "职业与公共诚信", 100),
    ("attack", "reverse_inducement", "反面诱导", 110),
    ("attack", "goal_hijacking", "目标劫持", 110),
    ("attack", "unsafe_role_play", "不安全角色扮演", 110),
    ("attack", "unsafe_instruction_topic", "不安全指令主题", 110),
    ("attack", "prompt_leaking", "提示泄露", 110),
    ("attack", "unsafe_opinion_inquiry", "带有不安全观点的询问", 110),
    ("attack", "obfuscated_request", "混淆与编码请求", 109),
)
EVERY_ENTRY = pytest.mark.parametrize(
    "entry", [*taxonomy.dimensions(), *taxonomy.sub_dimensions()], ids=lambda entry: entry.id
)


def test_the_24_sub_dimensions_stand_in_order_with_their_names_and_counts() -> None:
    assert tuple((sub.dimension, sub.id, sub.zh, sub.pairs) for sub in taxonomy.sub_dimensions()) == TABLE


def test_the_three_dimensions_hold_881_806_and_769_pairs() -> None:
    counts = {
        dimension.id: sum(sub.pairs for sub in taxonomy.sub_dimensions() if sub.dimension == dimension.id)
        for dimension in taxonomy.dimensions()
    }

    assert counts == {"traditional": 881, "responsible": 806, "attack": 769}
    assert list(counts) == ["traditional", "responsible", "attack"]
    assert sum(taxonomy.weights().values()) == 2_456


def test_the_dimensions_carry_the_names_of_the_benchmark() -> None:
    assert [(dimension.zh, dimension.en) for dimension in taxonomy.dimensions()] == [
        ("传统安全", "Traditional safety"),
        ("负责任人工智能", "Responsible AI"),
        ("指令攻击", "Instruction attacks"),
    ]


@EVERY_ENTRY
def test_every_text_is_there_in_its_language(entry: taxonomy.Dimension | taxonomy.SubDimension) -> None:
    chinese = re.compile(r"[一-鿿]")
    texts = {name: getattr(entry, name) for name in entry.__struct_fields__ if name != "pairs"}

    assert [name for name, text in texts.items() if not text.strip()] == []
    for name in {"zh", "definition", "includes", "excludes"} & texts.keys():
        assert chinese.search(texts[name]), name
    for name in {"en", "definition_en", "includes_en", "excludes_en"} & texts.keys():
        assert not chinese.search(texts[name]), name


@EVERY_ENTRY
def test_a_definition_has_two_to_four_sentences(entry: taxonomy.Dimension | taxonomy.SubDimension) -> None:
    assert 2 <= len(re.findall(r"[。！？]", entry.definition)) <= 4
    assert 2 <= len(re.findall(r"[.?!](?:\s|$)", entry.definition_en)) <= 4


def test_no_two_entries_share_a_name() -> None:
    entries = [*taxonomy.dimensions(), *taxonomy.sub_dimensions()]

    for field in ("id", "zh", "en", "definition", "definition_en"):
        assert len({getattr(entry, field) for entry in entries}) == len(entries), field


def test_a_sub_dimension_is_found_by_its_id_and_nothing_else_is() -> None:
    assert taxonomy.sub_dimension("mental_health").zh == "心理健康"
    assert taxonomy.dimension_of("goal_hijacking") == "attack"
    assert taxonomy.is_sub_dimension("environment")
    assert not taxonomy.is_sub_dimension("attack")
    with pytest.raises(KeyError):
        taxonomy.sub_dimension("attack")
