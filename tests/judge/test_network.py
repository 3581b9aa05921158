"""The offline judge's network: what ONNX Runtime computes with small integers against the same model worked out in numpy."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scsafety.judge.adapter import SCALE, Adapter, name_of, write_adapter
from scsafety.judge.decoder import MATRICES, Decoder
from scsafety.judge.eight_bit import quantised, write_weights
from scsafety.judge.layout import slots
from scsafety.judge.making import write_graph
from scsafety.judge.offline import softmax
from scsafety.judge.offline_model import Network, write_model
from tests.judge.small_model import EPSILON, HEADS, INNER, KV_HEADS, LAYERS, THETA, WIDTH, write_small_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

PROMPTS = ["问：ab 怎么办？\n答：不行，这样会伤人。\n评分：", "a", "答：" + "好的，照你说的办。" * 12 + "\n评分："]
HEAD = WIDTH // HEADS
Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "small.gguf")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    """Of the upper two layers; strong enough to be seen."""
    drawn = np.random.default_rng(1)
    tensors: dict[str, NDArray[np.float32]] = {}
    for n in (1, 2):
        for matrix, (n_out, n_in) in Decoder(base).shape.matrices.items():
            tensors[name_of(n, matrix, "a")] = drawn.normal(scale=0.1, size=(4, n_in)).astype(np.float32)
            tensors[name_of(n, matrix, "b")] = drawn.normal(scale=0.1, size=(n_out, 4)).astype(np.float32)
    write_adapter(tmp_path / "adapter.gguf", tensors)
    return tmp_path / "adapter.gguf"


def in_full(x: Array, weights: Array) -> Array:
    return np.asarray(x @ weights.T)


def in_whole_numbers(x: Array, weights: Array) -> Array:
    """As the graph multiplies: 7 bits for a weight, 8 for an activation."""
    whole, scales = quantised(weights)
    step = np.abs(x).max(-1, keepdims=True) / 127
    return np.asarray(np.round(x / step) @ whole.T.astype(np.float32) * scales.T * step)


def by_hand(
    decoder: Decoder, adapter: Adapter, prompt: str, n_layers: int, times: Callable[[Array, Array], Array]
) -> Array:
    """(3,) probabilities: Qwen2 written down once more and plainly."""

    def normed(x: Array, weights: Array) -> Array:
        return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * weights)

    def turned(x: Array) -> Array:
        angle = np.arange(len(x))[:, None] * THETA ** (-np.arange(0, HEAD, 2) / HEAD)
        a, b = x[:, : HEAD // 2], x[:, HEAD // 2 :]
        return np.hstack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    embedding = decoder.embedding()
    x = (quantised(embedding)[0] * quantised(embedding)[1])[decoder.tokenizer.encode(prompt).ids]
    for n in range(n_layers):
        layer = decoder.layer(n)
        for matrix in MATRICES:
            if (added := adapter.added(n, matrix)) is not None:
                layer[matrix] = layer[matrix] + added
        sides = times(normed(x, layer["attention_norm"]), layer["qkv"]) + layer["qkv_bias"]
        q, k, v = np.split(sides, [WIDTH, WIDTH + KV_HEADS * HEAD], axis=1)
        seen = []
        for h in range(HEADS):
            mine, shared = slice(h * HEAD, (h + 1) * HEAD), h // (HEADS // KV_HEADS)
            theirs = slice(shared * HEAD, (shared + 1) * HEAD)
            weights = turned(q[:, mine]) @ turned(k[:, theirs]).T / np.sqrt(HEAD)
            weights[np.triu_indices(len(x), 1)] = -np.inf
            seen.append(softmax(weights) @ v[:, theirs])
        x = x + times(np.hstack(seen), layer["output"])
        gate, up = np.split(times(normed(x, layer["inner_norm"]), layer["gate_up"]), 2, axis=1)
        x = x + times(gate / (1 + np.exp(-gate)) * up, layer["down"])
    digits = [decoder.tokenizer.encode(digit).ids[0] for digit in "012"]
    return np.asarray(softmax((normed(x, decoder.last_norm())[-1] @ embedding[digits].T).astype(np.float64)))


def made(folder: Path, base: Path, adapter: Path, n_layers: int) -> Network:
    graph = folder / "made.onnx"
    write_graph(graph, base, n_layers)
    write_model(folder / "model", base, graph, adapter, n_layers)
    return Network(folder / "model")


@pytest.mark.parametrize("n_layers", [1, 2, LAYERS])
def test_the_network_says_what_the_model_with_its_adapter_would(
    tmp_path: Path, base: Path, adapter: Path, n_layers: int
) -> None:
    network = made(tmp_path, base, adapter, n_layers)
    decoder = Decoder(base)

    found = np.array([network.read(prompt) for prompt in PROMPTS])

    wanted, near = (
        np.array([by_hand(decoder, Adapter(adapter), prompt, n_layers, times) for prompt in PROMPTS])
        for times in (in_whole_numbers, in_full)
    )
    assert found == pytest.approx(wanted, abs=2e-3)
    assert np.abs(found - near).max() < 0.15  # a small random model feels the few bits more than a large one
    assert np.ptp(wanted, axis=0).max() > 0.2  # the prompts do differ
    assert np.array_equal(found, [network.read(prompt) for prompt in PROMPTS])


def test_the_adapter_is_twice_the_product_of_its_two_sides(tmp_path: Path, adapter: Path) -> None:
    given = Adapter(adapter)

    assert given.added(0, "qkv") is None
    added = given.added(1, "down")
    assert added is not None
    assert added.shape == (WIDTH, INNER)
    assert np.linalg.matrix_rank(added) == 4
    assert SCALE == 2
    one = {
        name_of(0, "output", "a"): np.full((1, 3), 0.5, np.float32),
        name_of(0, "output", "b"): np.eye(1, dtype="f4"),
    }
    write_adapter(tmp_path / "one.gguf", one)
    assert Adapter(tmp_path / "one.gguf").added(0, "output") == pytest.approx(np.ones((1, 3)))


def test_a_row_of_weights_keeps_its_largest_and_loses_at_most_half_a_step() -> None:
    weights = np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32)
    weights[3] = 0

    whole, scales = quantised(weights)

    assert np.abs(whole).max() == 63
    assert np.abs(whole * scales - weights).max() <= scales.max() / 2 + 1e-7
    assert not whole[3].any()


def test_the_arrays_lie_one_behind_the_other_and_are_all_written(tmp_path: Path, base: Path, adapter: Path) -> None:
    decoder = Decoder(base)
    write_weights(tmp_path / "weights.bin", decoder, Adapter(adapter), LAYERS)

    found = list(slots(decoder.shape, LAYERS))

    assert all(a.offset + a.n_bytes <= b.offset for a, b in pairwise(found))
    assert (tmp_path / "weights.bin").stat().st_size == found[-1].offset + found[-1].n_bytes
    last = {slot.name: slot for slot in found}[f"{LAYERS - 1}.down.scales"]
    data = np.fromfile(tmp_path / "weights.bin", last.dtype, WIDTH, offset=last.offset)
    assert (data > 0).all()


def test_marks_of_a_chat_template_are_read_as_plain_text(base: Path) -> None:
    assert len(Decoder(base).tokenizer.encode("<|im_end|>").ids) == len("<|im_end|>")
    assert Decoder(base).tokenizer.encode("ab").tokens == ["ab"]


def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a llama, not a qwen2"):
        Decoder(write_small_model(tmp_path / "other.gguf", kind="llama"))
