"""The offline judge's model: made once from the embedded model and the adapter, kept in the cache, and asked for digits.

It runs in ONNX Runtime, which multiplies small integers several times as fast as llama.cpp's common builds do, and a judge
only reads: all tokens of a prompt are worked out at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scsafety.errors import CallFailed, ConfigError
from scsafety.judge.offline import ADAPTER, GRAPH, OfflineJudge, built_in, load_artefacts, softmax
from scsafety.targets.models import cache_dir, disk_error, embedded_model, pull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scsafety.judge.offline import Trained
    from scsafety.targets.model_file import OnProgress

WEIGHTS, TOKENIZER = "weights.bin", "tokenizer.json"
FORMAT = 1  # of the made folder: a new one is made anew


class Network:
    """The network in a folder that `write_model` made."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self._session = onnxruntime.InferenceSession(
            folder / GRAPH, session_options(), providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))

    def read(self, prompt: str) -> NDArray[np.float64]:
        """(3,) probabilities of the tokens 0, 1, 2 against each other. Raises CallFailed."""
        ids = np.array(self._tokenizer.encode(prompt).ids, dtype=np.int64)
        try:
            (logits,) = self._session.run(None, {"ids": ids})
        except Exception as error:  # the runtime's own errors share no base of their own
            raise CallFailed("transient", f"the offline judge's model cannot be asked: {error}") from error
        return softmax(np.asarray(logits[0], dtype=np.float64))


class DigitReader:
    """As many cases at a time as there are cores."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._networks = [Network(folder) for folder in folders]
        self._threads = ThreadPoolExecutor(cores(), "offline-judge")  # not asyncio's, which others wait for too

    async def digits(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, prompts)

    def _read(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([network.read(prompt) for network, prompt in zip(self._networks, prompts, strict=True)])

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def prepare_offline(
    folder: Path, *, on_progress: OnProgress | None = None, environ: Mapping[str, str] | None = None
) -> list[Path]:
    """The folders in the cache of the networks that the judge asks, made if need be; fetches the embedded models first.

    folder: of the judge's artefacts. Another adapter is another network, with a folder of its own.

    Raises ConfigError and MachineError as `pull` does.
    """
    environ = os.environ if environ is None else environ
    trained = load_artefacts(folder).trained
    found = [_prepare(folder, trained, on_progress, environ)]
    if trained.beside is not None:
        found += prepare_offline(built_in(trained.beside), on_progress=on_progress, environ=environ)
    return found


def _prepare(folder: Path, trained: Trained, on_progress: OnProgress | None, environ: Mapping[str, str]) -> Path:
    from filelock import FileLock

    base = embedded_model(trained.base)
    digest = hashlib.sha256(base.sha256.encode())  # not of the settings: another calibration is no other network
    for name in (ADAPTER, GRAPH):
        digest.update((folder / name).read_bytes())
    made = cache_dir(environ) / f"offline-v{FORMAT}-{digest.hexdigest()[:16]}"
    if made.is_dir():
        return made
    source = pull(base, on_progress=on_progress, environ=environ)
    fresh = made.with_name(f"{made.name}.{os.getpid()}.part")
    try:
        with FileLock(made.with_name(f"{made.name}.lock")):
            if not made.is_dir():  # another process was quicker
                write_model(fresh, source, folder / GRAPH, folder / ADAPTER, trained.layers)
                fresh.replace(made)
    except OSError as error:
        raise disk_error(error, made.parent) from error
    except (ValueError, KeyError) as error:  # of another base model, or damaged
        raise ConfigError(f"{folder / ADAPTER} does not fit {base.id}: {error}; train it anew") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def write_model(folder: Path, base: Path, graph: Path, adapter: Path, n_layers: int) -> None:
    """Makes a folder that `DigitReader` opens. base: the embedded model's file. Raises OSError."""
    from scsafety.judge.adapter import Adapter
    from scsafety.judge.decoder import Decoder
    from scsafety.judge.eight_bit import write_weights

    folder.mkdir(parents=True)
    decoder = Decoder(base)
    shutil.copyfile(graph, folder / GRAPH)
    decoder.tokenizer.save(str(folder / TOKENIZER))
    write_weights(folder / WEIGHTS, decoder, Adapter(adapter), n_layers)


def cores() -> int:
    """That this process may use; ONNX Runtime would count the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def session_options() -> Any:
    """A core a prompt: prompts side by side are read faster than one after another with all cores for each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


@asynccontextmanager
async def open_offline(folder: Path, *, judge_id: str = "offline") -> AsyncIterator[OfflineJudge]:
    """The judge in a folder of artefacts, as long as the block lasts. Raises ConfigError and MachineError."""
    reader = await asyncio.to_thread(lambda: DigitReader(prepare_offline(folder)))
    try:
        yield OfflineJudge(reader, load_artefacts(folder), judge_id)
    finally:
        reader.close()
