"""The first layers of an embedded model as a model file of their own, for the offline judge.

A judge reads and does not write: its adapter is trained on the lower layers, and the upper ones would cost two thirds of
the time. The derived file is made once from the model's file in the cache and lies beside it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scsafety.targets.models import cache_dir, disk_error, pull

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scsafety.targets.model_file import EmbeddedModel, OnProgress

FORMAT = 1  # of the derived file: a new one is made anew
QUANTISATION = "Q4_0"  # the one that llama.cpp works fastest with on CPUs of every kind


def first_layers(
    model: EmbeddedModel,
    n_layers: int,
    *,
    on_progress: OnProgress | None = None,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """The path of the file with the model's first `n_layers` layers, made if need be (about 5 s); fetches the model first.

    Raises ConfigError and MachineError as `pull` does.
    """
    from filelock import FileLock

    environ = os.environ if environ is None else environ
    path = cache_dir(environ) / f"{model.file.removesuffix('.gguf')}-first{n_layers}-v{FORMAT}.gguf"
    if path.is_file():
        return path
    source = pull(model, on_progress=on_progress, environ=environ)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.is_file():  # another process was quicker
                cut(source, fresh, n_layers)
                fresh.replace(path)
    except OSError as error:
        raise disk_error(error, path.parent) from error
    finally:
        fresh.unlink(missing_ok=True)
    return path


def cut(source: Path, out: Path, n_layers: int) -> None:
    """Writes the GGUF file `out`: embedding, the first `n_layers` layers (weights as Q4_0) and the head of `source`."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
    from gguf.quants import dequantize, quantize

    reader = GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(out, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = n_layers if field.name == f"{architecture}.block_count" else field.contents()
        writer.add_key_value(field.name, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    target = GGMLQuantizationType[QUANTISATION]
    for tensor in reader.tensors:
        layer = int(tensor.name.split(".")[1]) if tensor.name.startswith("blk.") else None
        if layer is not None and layer >= n_layers:
            continue
        if layer is None or tensor.data.dtype == np.float32:  # embedding and head; norms and biases
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            weights = quantize(dequantize(tensor.data, tensor.tensor_type), target)
            writer.add_tensor(tensor.name, weights, raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
