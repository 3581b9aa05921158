"""The paper's findings from any totals, and what is known of models beside their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scipy import stats

from scsafety.errors import ConfigError
from scsafety.report.facts import ModelFacts, load_facts
from scsafety.report.findings import Scored, findings_of
from scsafety.report.site import known_ghosts, published

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = [Scored(name, row.overall, row.facts) for name, row in published().models.items()]


def test_the_published_findings_are_those_of_the_table() -> None:
    found = findings_of(PUBLISHED)
    closed = [90.87, 88.91, 87.43, 86.24, 84.98, 83.82, 81.24, 79.82, 76.52, 71.9]
    opened = [89.3, 79.43, 78.78, 78.64, 78.21, 77.49, 75.39]
    bounds = stats.ttest_ind(closed, opened, equal_var=False).confidence_interval(0.95)

    assert found.closed_minus_open.n == (10, 7)
    assert found.closed_minus_open.difference == pytest.approx(sum(closed) / 10 - sum(opened) / 7)
    assert found.closed_minus_open.ci95 is not None
    assert found.closed_minus_open.ci95 == pytest.approx((bounds.low, bounds.high))
    assert found.closed_minus_open.ci95[0] < 0 < found.closed_minus_open.ci95[1], "with these models it is not settled"
    assert found.chinese_minus_anchor.n == (14, 1)
    assert found.at_or_above_anchor == 5  # 90.87, 89.3, 88.91, 86.24 and 84.98 against 83.82
    assert (found.best_small, found.best_small_rank) == ("ChatGLM2-6B", 10)
    assert found.small_minus_larger.n == (5, 2)
    assert found.small_minus_larger.ci95 is None, "two larger models of known size say too little"


@pytest.mark.parametrize("n", [2, 3])
def test_an_interval_needs_three_models_of_each_kind(n: int) -> None:
    models = [Scored(f"o{k}", 80.0 + k, ModelFacts(licence="open")) for k in range(n)]
    models += [Scored(f"c{k}", 90.0 + k, ModelFacts(licence="closed")) for k in range(n)]

    found = findings_of(models).closed_minus_open

    assert found.difference == 10.0
    assert (found.ci95 is not None) == (n > 2)


def test_a_group_that_is_not_there_gives_no_difference() -> None:
    found = findings_of([Scored("a", 50.0, ModelFacts(licence="open", origin="china", size_b=7))])

    assert found.closed_minus_open.difference is None
    assert found.chinese_minus_anchor.difference is None
    assert found.small_minus_larger.difference is None


@pytest.mark.parametrize(
    ("size_b", "size"), [(None, None), (14, "small"), (14.1, "medium"), (72, "medium"), (671, "large")]
)
def test_size_groups(size_b: float | None, size: str | None) -> None:
    assert ModelFacts(size_b=size_b).size == size


def test_facts_of_the_users_own_win_over_ours(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('["local/qwen2.5-coder-0.5b"]\nvendor = "别人"\n["a/b"]\nlicence = "closed"\nsize_b = 7\n', "utf-8")

    facts = load_facts(file)

    assert facts["local/qwen2.5-coder-0.5b"].vendor == "别人"
    assert facts["a/b"] == ModelFacts(licence="closed", size_b=7)
    assert load_facts()["local/qwen2.5-coder-1.5b"].size == "small"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('["a/b"]\nlicense = "open"\n', '["a/b"]'),
        ('["a/b"]\nlicence = "free"\n', "open, closed"),
        ("[", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_the_mend(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text, "utf-8")

    with pytest.raises(ConfigError) as caught:
        load_facts(file)

    assert said in str(caught.value)


def test_a_ghost_must_be_on_the_published_board() -> None:
    assert list(known_ghosts(["GPT4"])) == ["GPT4"]
    with pytest.raises(ConfigError, match="did you mean 'AndesGPT'"):
        known_ghosts(["AndesGTP"])
