"""The training itself, on a small model of random weights. Needs the extra `train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from scsafety.judge import training
from scsafety.judge.adapter import Adapter
from scsafety.judge.making import write_graph
from scsafety.judge.offline import write_prompt
from scsafety.judge.offline_model import Network, write_model
from scsafety.judge.training import Example, Recipe, TrainProgress, train_adapter
from tests.judge.cases import case
from tests.judge.small_model import write_small_model

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="pip install 'scsafety[train]'")

RECIPE = Recipe(layers=3, frozen=1, rank=4, epochs=2, learning_rate=2e-2, batch_tokens=700)
ANSWERS = {0: "好的，照做", 1: "不行", 2: "不行，会伤人"}


def examples() -> list[Example]:
    return [
        Example(case(ANSWERS[score] + "。" * (k % 3), item=None, question=f"问{k}"), score, is_real=k % 4 > 0)
        for k in range(60)
        for score in [k % 3]
    ]


def test_it_learns_and_the_network_says_what_was_learned(tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "small.gguf")
    told: list[TrainProgress] = []

    adapters = train_adapter(
        base, examples(), msgspec.structs.replace(RECIPE, epochs=6), tmp_path / "work", on_progress=told.append
    )

    losses = [one.loss for one in told if one.loss is not None]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    assert {one.stage for one in told} == {"lower layers", *(f"epoch {k}" for k in range(1, 7))}
    graph = tmp_path / "graph.onnx"
    write_graph(graph, base, 3)
    write_model(tmp_path / "model", base, graph, adapters[-1], 3)
    network = Network(tmp_path / "model")
    said = [int(network.read(write_prompt(one.case, RECIPE.excerpts)).argmax()) for one in examples()[:12]]
    assert said == [one.score for one in examples()[:12]]


def test_it_learns_the_reasons_too_where_the_recipe_counts_them(tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "small.gguf")
    given = [msgspec.structs.replace(one, reason=str((one.score + 1) % 3)) for one in examples()]  # a digit: read back
    graph = tmp_path / "graph.onnx"
    write_graph(graph, base, 3)

    def said_behind_the_question_why(reason_count: float) -> list[int]:
        recipe = msgspec.structs.replace(RECIPE, epochs=6, reason_count=reason_count)
        folder = tmp_path / str(reason_count)
        write_model(folder, base, graph, train_adapter(base, given, recipe, tmp_path / f"work{reason_count}")[-1], 3)
        network = Network(folder)
        prompts = [write_prompt(one.case, RECIPE.excerpts) for one in given[:12]]
        assert [int(network.read(prompt).argmax()) for prompt in prompts] == [one.score for one in given[:12]]
        return [int(network.read(prompt + training.ASKED_WHY).argmax()) for prompt in prompts]

    reasons = [int(one.reason) for one in given[:12]]
    assert said_behind_the_question_why(1.0) == reasons
    assert said_behind_the_question_why(0.0) != reasons


def test_an_interrupted_training_ends_with_the_same_adapter(tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "small.gguf")
    whole = train_adapter(base, examples(), RECIPE, tmp_path / "whole")

    def stop_in_the_second(step: TrainProgress) -> None:
        if (step.stage, step.done) == ("epoch 2", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(base, examples(), RECIPE, tmp_path / "parts", on_progress=stop_in_the_second)
    told: list[TrainProgress] = []
    parts = train_adapter(base, examples(), RECIPE, tmp_path / "parts", on_progress=told.append)

    assert "epoch 1" not in {one.stage for one in told}
    assert [path.name for path in parts] == ["epoch1.gguf", "epoch2.gguf"]
    for layer in (1, 2):
        mine, theirs = Adapter(parts[1]).added(layer, "qkv"), Adapter(whole[1]).added(layer, "qkv")
        assert mine is not None
        assert mine == pytest.approx(theirs, abs=1e-6)
    assert Adapter(parts[1]).added(0, "qkv") is None


def test_a_checkpoint_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "small.gguf")
    train_adapter(base, examples(), RECIPE, tmp_path / "work")
    told: list[TrainProgress] = []

    other = Recipe(layers=3, frozen=1, rank=2, epochs=1, batch_tokens=700)
    train_adapter(base, examples(), other, tmp_path / "work", on_progress=told.append)

    assert "epoch 1" in {one.stage for one in told}


def test_the_commonest_score_of_real_answers_is_dealt_out_over_the_epochs() -> None:
    import random

    given = [Example(case("答", item=None, question=f"问{k}"), 1 if k < 40 else 0, is_real=k < 50) for k in range(60)]

    first, second = training._dealt(given, 2, random.Random(0))

    ones = [[one.case.question for one in epoch if one.score == 1] for epoch in (first, second)]
    assert [len(epoch) for epoch in ones] == [20, 20]
    assert not set(ones[0]) & set(ones[1])
    assert sum(one.score == 0 for one in first) == sum(one.score == 0 for one in second) == 20
