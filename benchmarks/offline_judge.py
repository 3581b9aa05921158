"""How fast the offline judge reads, against its matrix products alone (the ideal) and llama.cpp on the same prompts (the peer).

    PYTHONPATH=. python benchmarks/offline_judge.py [--answers 120]

llama.cpp reads the embedded model's file with all its layers; its time is taken as the judge's share of them. Needs `onnx`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from scsafety.bank import load_bank
from scsafety.judge.decoder import MATRICES, Decoder
from scsafety.judge.gold import gold_case, load_gold
from scsafety.judge.offline import built_in, load_artefacts, write_prompt
from scsafety.judge.offline_model import Network, cores, prepare_offline, session_options
from scsafety.targets.embedded import open_embedded
from scsafety.targets.models import embedded_model, pull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scsafety.judge.decoder import Shape


def seconds(read: Callable[[int], object], n: int) -> float:
    """For prompts 0..n-1 as the judge reads them, as many at a time as there are cores, after three to warm up."""
    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(read, range(min(3, n))))
        began = time.perf_counter()
        list(threads.map(read, range(n)))
        return time.perf_counter() - began


def products(shape: Shape, n_layers: int, lengths: list[int]) -> float:
    """Seconds of one layer's four products for every prompt, times the layers."""
    drawn = np.random.default_rng(0)
    nodes, arrays = [], []
    for matrix in MATRICES:
        n_out, n_in = shape.matrices[matrix]
        weights = drawn.integers(-63, 64, size=(n_in, n_out), dtype=np.int8)
        arrays.append(numpy_helper.from_array(weights, matrix))
        nodes.append(helper.make_node("MatMulInteger", [f"x{n_in}", matrix, "z"], [f"y.{matrix}"]))
    arrays.append(numpy_helper.from_array(np.uint8(128), "z"))
    widths = sorted({n_in for _, n_in in shape.matrices.values()})
    inputs = [helper.make_tensor_value_info(f"x{n}", TensorProto.UINT8, ["n", n]) for n in widths]
    outputs = [helper.make_tensor_value_info(f"y.{name}", TensorProto.INT32, ["n", None]) for name in MATRICES]
    model = helper.make_model(
        helper.make_graph(nodes, "products", inputs, outputs, arrays), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString(), session_options())
    given = [{f"x{n}": np.full((length, n), 7, np.uint8) for n in widths} for length in lengths]
    return n_layers * seconds(lambda k: session.run(None, given[k]), len(given))


async def by_llama_cpp(model: Path, prompts: list[str]) -> float:
    """Seconds to have the next token after each prompt."""
    async with open_embedded(model) as server, aiohttp.ClientSession() as http:
        url = f"{server.base_url.removesuffix('/v1')}/completion"

        async def ask(prompt: str) -> None:
            body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "cache_prompt": False}
            async with http.post(url, json=body) as response:
                response.raise_for_status()
                await response.read()

        for prompt in prompts[:3]:
            await ask(prompt)
        began = time.perf_counter()
        for prompt in prompts:
            await ask(prompt)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=120)
    n = parser.parse_args().answers
    trained = load_artefacts(built_in()).trained
    items = {item.id: item for item in load_bank().items}
    real = [record for record in load_gold(split="test") if record.origin == "real"]
    prompts = [
        write_prompt(gold_case(record, items), trained.excerpts) for record in real[:: max(1, len(real) // n)][:n]
    ]
    base = pull(embedded_model(trained.base))
    decoder = Decoder(base)
    lengths = [len(decoder.tokenizer.encode(prompt).ids) for prompt in prompts]

    (folder,) = prepare_offline(built_in())
    network = Network(folder)
    ours = seconds(lambda k: network.read(prompts[k]), len(prompts))
    ideal = products(decoder.shape, trained.layers, lengths)
    share = trained.layers / decoder.shape.n_layers
    peer = asyncio.run(by_llama_cpp(base, prompts)) * share
    for name, taken in (("offline", ours), ("its products alone", ideal), ("llama.cpp, its share", peer)):
        print(
            f"{name:22s} {len(prompts) / taken:6.2f} answers/s  {sum(lengths) / taken:6.0f} tokens/s  "
            f"{taken / ours:5.2f} of its time"
        )


if __name__ == "__main__":
    main()
