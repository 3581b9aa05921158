"""A Qwen2 of three layers and 64 wide in a GGUF file, with random weights and a tokenizer of single bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter

if TYPE_CHECKING:
    from pathlib import Path

LAYERS, HEADS, KV_HEADS, WIDTH, INNER = 3, 4, 2, 64, 96
EPSILON, THETA = 1e-6, 10_000.0


def byte_tokens() -> list[str]:
    """The 256 signs that stand for a byte each (GPT-2's byte-level BPE)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [n for n in range(256) if n not in printable]
    return [chr(n) for n in printable] + [chr(256 + k) for k in range(len(others))]


def write_small_model(path: Path, *, kind: str = "qwen2") -> Path:
    drawn = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return drawn.normal(scale=shape[-1] ** -0.5, size=shape).astype(np.float32)

    tokens = [*byte_tokens(), "ab"]
    writer = GGUFWriter(path, kind)
    writer.add_uint32(f"{kind}.block_count", LAYERS)
    writer.add_uint32(f"{kind}.attention.head_count", HEADS)
    writer.add_uint32(f"{kind}.attention.head_count_kv", KV_HEADS)
    writer.add_uint32(f"{kind}.embedding_length", WIDTH)
    writer.add_uint32(f"{kind}.feed_forward_length", INNER)
    writer.add_float32(f"{kind}.attention.layer_norm_rms_epsilon", EPSILON)
    writer.add_float32(f"{kind}.rope.freq_base", THETA)
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    writer.add_tensor("token_embd.weight", random(len(tokens), WIDTH) * 3)
    writer.add_tensor("output_norm.weight", 1 + random(WIDTH))
    of_kv = WIDTH // HEADS * KV_HEADS
    for n in range(LAYERS):
        sizes = {"attn_q": WIDTH, "attn_k": of_kv, "attn_v": of_kv}
        for name, size in sizes.items():
            writer.add_tensor(f"blk.{n}.{name}.weight", random(size, WIDTH))
            writer.add_tensor(f"blk.{n}.{name}.bias", random(size))
        writer.add_tensor(f"blk.{n}.attn_output.weight", random(WIDTH, WIDTH))
        writer.add_tensor(f"blk.{n}.ffn_gate.weight", random(INNER, WIDTH))
        writer.add_tensor(f"blk.{n}.ffn_up.weight", random(INNER, WIDTH))
        writer.add_tensor(f"blk.{n}.ffn_down.weight", random(WIDTH, INNER))
        writer.add_tensor(f"blk.{n}.attn_norm.weight", 1 + random(WIDTH))
        writer.add_tensor(f"blk.{n}.ffn_norm.weight", 1 + random(WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
