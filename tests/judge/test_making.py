"""What `judge-train` does around the training: the best epoch is kept, calibrated and written; test stays unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from scsafety.errors import ConfigError
from scsafety.judge import making
from scsafety.judge.gold import GoldRecord, gold_hash
from scsafety.judge.offline import Excerpts, built_in, features, load_artefacts
from scsafety.judge.training import Example, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scsafety.records import Case, Score

SHARE = {"train": 10, "dev": 30, "test": 10}


def gold() -> list[GoldRecord]:
    """The answer of each record names its score."""
    return [
        GoldRecord(
            id=f"{split}-{k}",
            sub_dimension="environment",
            round=1,
            history=(),
            question=f"问 {split} {k}",
            response=f"答 {k % 3}",
            score=_score(k),
            origin="real" if k % 2 else "written",
            split=split,  # type: ignore[arg-type]
        )
        for split, n in SHARE.items()
        for k in range(n)
    ]


def _score(k: int) -> Score:
    scores: tuple[Score, ...] = (0, 1, 2)
    return scores[k % 3]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two epochs: the first adapter knows nothing, the second reads the score off the answer. Returns the prompts' questions."""
    questions: list[str] = []

    def train(_: Path, examples: Sequence[Example], recipe: Recipe, folder: Path, **__: Any) -> list[Path]:
        folder.mkdir(parents=True)
        questions.extend(example.case.question for example in examples)
        adapters = [folder / f"epoch{k}.gguf" for k in range(recipe.epochs)]
        for adapter in adapters:
            adapter.write_text(adapter.stem)
        return adapters

    def ask(*given: Any) -> NDArray[np.float64]:
        _, _, adapter, _, cases, _ = given
        questions.extend(case.question for case in cases)
        if adapter.stem == "epoch0":
            return np.full((len(cases), 3), 1 / 3)
        return np.array([np.where(np.arange(3) == int(case.answer[-1]), 0.8, 0.1) for case in cases])

    monkeypatch.setattr(making, "train_adapter", train)
    monkeypatch.setattr(making, "ask", ask)
    monkeypatch.setattr(making, "pull", lambda *_, **__: None)
    monkeypatch.setattr(making, "write_graph", lambda path, *_: path.write_bytes(b"graph"))
    return questions


def test_the_epoch_that_is_best_on_dev_is_kept_and_test_is_not_looked_at(tmp_path: Path, seen: list[str]) -> None:
    made = making.make_judge(gold(), {}, tmp_path / "judge", Recipe(epochs=2))

    assert (made.epoch, made.n_train, made.n_dev, made.accuracy) == (2, 10, 30, 1.0)
    assert sorted(path.name for path in (tmp_path / "judge").iterdir()) == [
        "adapter.gguf",
        "graph.onnx",
        "judge.json",
    ]
    assert (tmp_path / "judge/adapter.gguf").read_text() == "epoch1"
    assert not any("test" in question for question in seen)
    trained = load_artefacts(tmp_path / "judge").trained
    assert trained.probabilities(features(np.array([0.1, 0.1, 0.8]))).argmax() == 2
    assert trained.gold_hash == gold_hash([record for record in gold() if record.split != "test"])
    assert 0 < trained.cascade_threshold <= 1
    assert made.decides == 1.0


@pytest.mark.usefixtures("seen")
def test_a_judge_beside_another_is_calibrated_on_what_both_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its only adapter knows nothing; the one beside it reads the score off the answer."""

    def beside(_: Recipe, cases: Sequence[Case], __: Any) -> list[NDArray[np.float64]]:
        return [features(np.array([np.where(np.arange(3) == int(case.answer[-1]), 0.8, 0.1) for case in cases]))]

    monkeypatch.setattr(making, "beside", beside)
    recipe = Recipe(epochs=1, beside="offline", excerpts=Excerpts(answer=(240, 120)))

    made = making.make_judge(gold(), {}, tmp_path / "judge", recipe)

    assert made.accuracy == 1.0
    artefacts = load_artefacts(tmp_path / "judge")
    assert artefacts.trained.excerpts.answer == (240, 120)
    assert artefacts.networks == (artefacts.trained, load_artefacts(built_in()).trained)


def test_a_cascade_is_held_to_real_answers_to_bank_questions() -> None:
    """All others are easy, 200 of them; of the 60 that a run would bring the surest are as often wrong as right."""
    records = [
        msgspec.structs.replace(one, origin="real" if bank else "written", pair_id=f"p{bank}-{k}", score=_score(k))
        for bank, n in ((False, 200), (True, 60))
        for k, one in zip(range(n), gold() * n, strict=False)
    ]
    said = [
        record.score if record.origin == "written" or k % 2 else (record.score + 1) % 3
        for k, record in enumerate(records)
    ]
    x = features(np.array([np.where(np.arange(3) == score, 0.9, 0.05) for score in said]))

    without = making.Calibration(x[:200], records[:200])
    both = making.Calibration(x, records)

    assert without.threshold <= 1 < both.threshold
    assert both.right.mean() > 0.85


def test_a_recipe_that_learns_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of 4 layers 4 stay as they are"):
        making.make_judge(gold(), {}, tmp_path, Recipe(layers=4, frozen=4))


def test_labels_without_a_dev_split_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    only = [record for record in gold() if record.split == "train"]

    with pytest.raises(ConfigError, match="10 records to train on and 0 of split dev"):
        making.make_judge(only, {}, tmp_path, Recipe())
