"""The offline judge's model: fetched, cut to its lower layers, served with the adapter, and asked for digits."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from scsafety.errors import CallFailed
from scsafety.judge.offline import ADAPTER, OfflineJudge, built_in, load_artefacts
from scsafety.targets.embedded import EmbeddedServer, open_embedded
from scsafety.targets.models import embedded_model
from scsafety.targets.truncated import first_layers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp
    from numpy.typing import NDArray

    from scsafety.targets.model_file import OnProgress

N_PROBS = 40  # likeliest next tokens to look for the digits in


class DigitReader:
    """A llama.cpp server that is asked for the next token's probabilities."""

    def __init__(self, server: EmbeddedServer, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session
        self._url = f"{server.base_url.removesuffix('/v1')}/completion"

    async def digits(self, prompt: str) -> NDArray[np.float64]:
        import aiohttp

        body = {"prompt": prompt, "n_predict": 1, "n_probs": N_PROBS, "temperature": 0, "cache_prompt": False}
        try:
            async with self._session.post(self._url, json=body) as response:
                text = await response.text()
                if response.status != 200:
                    raise CallFailed("bad_reply", f"the offline judge's model answered {response.status}: {text[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._server.check()
            raise CallFailed("transient", f"the offline judge's model cannot be asked: {error}") from error
        return read_digits(msgspec.json.decode(text))


def read_digits(reply: dict[str, Any]) -> NDArray[np.float64]:
    """(3,) probabilities of the tokens 0, 1, 2 from llama.cpp's reply; 0 for one that is not among the likeliest."""
    found = {entry["token"]: entry["logprob"] for entry in reply["completion_probabilities"][0]["top_logprobs"]}
    return np.array([np.exp(found[digit]) if digit in found else 0.0 for digit in "012"])


def prepare_offline(*, on_progress: OnProgress | None = None) -> None:
    """Has the model's file ready, before an event loop runs. Raises MachineError."""
    trained = load_artefacts(built_in()).trained
    first_layers(embedded_model(trained.base), trained.layers, on_progress=on_progress)


@asynccontextmanager
async def open_reader(model: Path, adapter: Path | None, *, n_ctx: int) -> AsyncIterator[DigitReader]:
    """Raises MachineError."""
    import aiohttp

    async with (
        open_embedded(model, n_ctx=n_ctx, adapter=adapter) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        yield DigitReader(server, session)


@asynccontextmanager
async def open_offline(folder: Path | None = None) -> AsyncIterator[OfflineJudge]:
    """The judge in a folder of artefacts (None: the built-in one), as long as the block lasts. Raises MachineError."""
    folder = folder or built_in()
    artefacts = load_artefacts(folder)
    trained = artefacts.trained
    model = await asyncio.to_thread(first_layers, embedded_model(trained.base), trained.layers)
    async with open_reader(model, folder / ADAPTER, n_ctx=trained.n_ctx) as reader:
        yield OfflineJudge(reader, artefacts)
