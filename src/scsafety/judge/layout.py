"""Where each array of the offline judge lies in its weights' file. The graph points there; both follow from the shape. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety.judge.decoder import MATRICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.judge.decoder import Shape

ALIGNED = 4_096  # bytes: a page, so that the file can be mapped


class Slot(msgspec.Struct, frozen=True):
    name: str
    dtype: str  # numpy's
    shape: tuple[int, ...]
    offset: int

    @property
    def n_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


def slots(shape: Shape, n_layers: int) -> Iterator[Slot]:
    """In the file's order. A matrix `m` is int8 (in, out), with `m.scales` (out,); the embedding has a scale a row."""
    at = 0
    for name, dtype, size in _arrays(shape, n_layers):
        slot = Slot(name, dtype, size, at)
        yield slot
        at += -(-slot.n_bytes // ALIGNED) * ALIGNED


def _arrays(shape: Shape, n_layers: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield "embedding", "int8", (shape.n_tokens, shape.width)
    yield "embedding.scales", "float32", (shape.n_tokens, 1)
    for n in range(n_layers):
        yield f"{n}.attention_norm", "float32", (shape.width,)
        yield f"{n}.inner_norm", "float32", (shape.width,)
        yield f"{n}.qkv_bias", "float32", (sum(shape.heads),)
        for matrix in MATRICES:
            n_out, n_in = shape.matrices[matrix]
            yield f"{n}.{matrix}", "int8", (n_in, n_out)
            yield f"{n}.{matrix}.scales", "float32", (n_out,)
    yield "last_norm", "float32", (shape.width,)
    yield "digits", "float32", (shape.width, 3)
