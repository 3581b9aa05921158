"""The offline judge's weights, made from the embedded model and the adapter: one file of small integers and their scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scsafety.judge.decoder import MATRICES
from scsafety.judge.layout import slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scsafety.judge.adapter import Adapter
    from scsafety.judge.decoder import Decoder

LARGEST = 63  # of a weight: 7 bits, see graph.py
TINY = 1e-12


def write_weights(path: Path, decoder: Decoder, adapter: Adapter, n_layers: int) -> None:
    """About 10 s and, at the most, the embedding in float32 in memory. Raises OSError."""
    where = {slot.name: slot for slot in slots(decoder.shape, n_layers)}
    with path.open("wb") as file:
        for name, array in _arrays(decoder, adapter, n_layers):
            slot = where[name]
            if array.shape != slot.shape:
                raise ValueError(f"{name} is {array.shape}, the graph wants {slot.shape}")
            file.seek(slot.offset)
            file.write(np.ascontiguousarray(array, dtype=slot.dtype).tobytes())


def _arrays(decoder: Decoder, adapter: Adapter, n_layers: int) -> Iterator[tuple[str, NDArray[np.generic]]]:
    embedding = decoder.embedding()
    digits = [decoder.tokenizer.encode(str(score)).ids[0] for score in range(3)]
    yield "digits", embedding[digits].T
    yield "last_norm", decoder.last_norm()
    whole, scales = quantised(embedding)
    del embedding
    yield "embedding", whole
    yield "embedding.scales", scales
    for n in range(n_layers):
        layer = decoder.layer(n)
        for name in ("attention_norm", "inner_norm", "qkv_bias"):
            yield f"{n}.{name}", layer[name]
        for matrix in MATRICES:
            added = adapter.added(n, matrix)
            whole, scales = quantised(layer[matrix] if added is None else layer[matrix] + added)
            yield f"{n}.{matrix}", whole.T
            yield f"{n}.{matrix}.scales", scales[:, 0]


def quantised(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(n, m) whole numbers and (n, 1) scales: each row's largest becomes 63."""
    scales = np.maximum(np.abs(weights).max(axis=1, keepdims=True), TINY) / LARGEST
    return np.round(weights / scales).astype(np.int8), scales.astype(np.float32)
