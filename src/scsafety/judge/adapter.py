"""The offline judge's adapter as a file: two low-rank matrices for each matrix of a layer, float16 in GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SCALE = 2.0  # of what the two matrices make: alpha over rank


def name_of(layer: int, matrix: str, side: str) -> str:
    """side: `a`, (rank, in), or `b`, (out, rank)."""
    return f"blk.{layer}.{matrix}.lora_{side}"


def write_adapter(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Raises OSError."""
    from gguf import GGUFWriter

    fresh = path.with_suffix(".part")
    writer = GGUFWriter(fresh, "qwen2")
    writer.add_string("general.type", "adapter")
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fresh.replace(path)


class Adapter:
    """Raises OSError, and ValueError for a file that is no GGUF."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self._tensors = {tensor.name: np.array(tensor.data, dtype=np.float32) for tensor in GGUFReader(path).tensors}

    def added(self, layer: int, matrix: str) -> NDArray[np.float32] | None:
        """(out, in) what it adds to the matrix; None where it leaves it alone."""
        name = name_of(layer, matrix, "a")
        if name not in self._tensors:
            return None
        product = self._tensors[name_of(layer, matrix, "b")] @ self._tensors[name]
        return np.asarray(SCALE * product, dtype=np.float32)
