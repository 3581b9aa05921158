"""The first layers of a model file as a file of their own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize

from scsafety.errors import MachineError
from scsafety.targets.model_file import EmbeddedModel
from scsafety.targets.models import embedded_model
from scsafety.targets.truncated import cut, first_layers

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = 4


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Four layers of 64 x 32."""
    path = tmp_path / "whole.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_uint32("qwen2.block_count", LAYERS)
    writer.add_string("general.name", "small")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    drawn = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", drawn.normal(size=(8, 64)).astype(np.float16))
    for k in range(LAYERS):
        writer.add_tensor(f"blk.{k}.attn_q.weight", drawn.normal(size=(32, 64)).astype(np.float16))
        writer.add_tensor(f"blk.{k}.attn_norm.weight", np.full(64, float(k), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_upper_layers_go_and_the_rest_stays(model: Path, tmp_path: Path) -> None:
    cut(model, tmp_path / "first2.gguf", 2)

    whole, short = GGUFReader(model), GGUFReader(tmp_path / "first2.gguf")
    tensors = {tensor.name: tensor for tensor in short.tensors}
    assert set(tensors) == {
        "token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_norm.weight", "blk.1.attn_q.weight", "blk.1.attn_norm.weight",
    }  # fmt: skip
    assert short.fields["qwen2.block_count"].contents() == 2
    assert short.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    before = {tensor.name: tensor for tensor in whole.tensors}
    assert np.array_equal(tensors["token_embd.weight"].data, before["token_embd.weight"].data)
    assert np.array_equal(tensors["blk.1.attn_norm.weight"].data, np.full(64, 1.0, dtype=np.float32))
    weights = tensors["blk.1.attn_q.weight"]
    assert weights.tensor_type == GGMLQuantizationType.Q4_0
    near = dequantize(weights.data, weights.tensor_type)
    assert np.abs(near - before["blk.1.attn_q.weight"].data.astype(np.float32)).mean() < 0.2


def small_model(path: Path) -> EmbeddedModel:
    """A row of the table for a file that lies in the cache."""
    data = path.read_bytes()
    return EmbeddedModel(
        id="small",
        name="small",
        licence="Apache-2.0",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        file=path.name,
    )


def test_it_is_made_once_beside_the_models_file(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "models"
    cache.mkdir(parents=True)
    (cache / model.name).write_bytes(model.read_bytes())
    environ = {"SCSAFETY_HOME": str(tmp_path / "home")}

    first = first_layers(small_model(model), 3, environ=environ)
    made = first.stat().st_mtime_ns
    again = first_layers(small_model(model), 3, environ=environ)

    assert first == again
    assert again.stat().st_mtime_ns == made
    assert [path.name for path in cache.iterdir() if "part" in path.name] == []


def test_without_the_model_it_says_how_to_get_it(tmp_path: Path) -> None:
    nowhere = msgspec.structs.replace(embedded_model("qwen2.5-coder-0.5b"), hubs=(), pieces=None)

    with pytest.raises(MachineError, match="models pull"):
        first_layers(nowhere, 3, environ={"SCSAFETY_HOME": str(tmp_path)})
