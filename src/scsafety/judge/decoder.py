"""The embedded model as the offline judge takes it apart: weights as float32, tokens as ids. Reads a GGUF file.

Qwen2's decoder (Qwen2 Technical Report, 2024, section 2.2): grouped-query attention with biases, rotary positions, RMS
norms, SwiGLU, and an embedding that is its own head.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# of Qwen2's tokenizer: a word, a digit, a run of signs or of blanks
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MATRICES = ("qkv", "output", "gate_up", "down")  # of a layer: the ones that are multiplied with


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights' sizes follow from."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    width: int
    n_inner: int  # of the feed-forward part
    n_tokens: int
    epsilon: float  # of the norms
    theta: float  # of the rotary positions

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.n_heads

    @property
    def heads(self) -> tuple[int, int, int]:
        """Widths of queries, keys and values, as they lie side by side in `qkv`."""
        return self.width, self.n_kv_heads * self.head, self.n_kv_heads * self.head

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each of `MATRICES`."""
        return {
            "qkv": (sum(self.heads), self.width),
            "output": (self.width, self.width),
            "gate_up": (2 * self.n_inner, self.width),
            "down": (self.width, self.n_inner),
        }

    def frequencies(self) -> NDArray[np.float32]:
        """(head / 2,) angles by which a position turns each pair of a head (RoFormer, Su et al., 2021, section 3.2.2)."""
        return (1 / self.theta ** (np.arange(0, self.head, 2) / self.head)).astype(np.float32)


class Decoder:
    def __init__(self, path: Path) -> None:
        """Raises OSError, and ValueError for a file that holds no Qwen2."""
        from gguf import GGUFReader

        self._reader = GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        if (kind := self._field("general.architecture")) != "qwen2":
            raise ValueError(f"{path} holds a {kind}, not a qwen2")
        self.shape = Shape(
            n_layers=self._field("qwen2.block_count"),
            n_heads=self._field("qwen2.attention.head_count"),
            n_kv_heads=self._field("qwen2.attention.head_count_kv"),
            width=self._field("qwen2.embedding_length"),
            n_inner=self._field("qwen2.feed_forward_length"),
            n_tokens=len(self._tensors["token_embd.weight"].data),
            epsilon=self._field("qwen2.attention.layer_norm_rms_epsilon"),
            theta=self._field("qwen2.rope.freq_base"),
        )

    def _field(self, name: str) -> Any:
        return self._reader.fields[name].contents()

    def _weights(self, name: str) -> NDArray[np.float32]:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)

    def layer(self, n: int) -> dict[str, NDArray[np.float32]]:
        """`MATRICES` as (out, in), `qkv_bias`, and the weights of the two norms."""

        def at(name: str) -> NDArray[np.float32]:
            return self._weights(f"blk.{n}.{name}")

        return {
            "attention_norm": at("attn_norm.weight"),
            "qkv": np.concatenate([at(f"attn_{side}.weight") for side in "qkv"]),
            "qkv_bias": np.concatenate([at(f"attn_{side}.bias") for side in "qkv"]),
            "output": at("attn_output.weight"),
            "inner_norm": at("ffn_norm.weight"),
            "gate_up": np.concatenate([at("ffn_gate.weight"), at("ffn_up.weight")]),
            "down": at("ffn_down.weight"),
        }

    def embedding(self) -> NDArray[np.float32]:
        """(tokens, width), which is the head too."""
        return self._weights("token_embd.weight")

    def last_norm(self) -> NDArray[np.float32]:
        return self._weights("output_norm.weight")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        from tokenizers import Regex, Tokenizer
        from tokenizers.models import BPE
        from tokenizers.normalizers import NFC
        from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

        tokens: list[str] = self._field("tokenizer.ggml.tokens")
        merges = [tuple(line.split(" ", 1)) for line in self._field("tokenizer.ggml.merges")]
        found = Tokenizer(BPE({token: n for n, token in enumerate(tokens)}, merges))
        found.normalizer = NFC()
        found.pre_tokenizer = Sequence(
            [Split(Regex(WORDS), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        return found
