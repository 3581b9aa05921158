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
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from scsafety.targets.model_file import OnProgress

WEIGHTS, TOKENIZER = "weights.bin", "tokenizer.json"
FORMAT = 1  # of the made folder: a new one is made anew


class DigitReader:
    """The network in a folder that `write_model` made. One prompt at a time, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self._session = onnxruntime.InferenceSession(
            folder / GRAPH, session_options(), providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._thread = ThreadPoolExecutor(1, "offline-judge")  # not asyncio's, which others wait for too

    async def digits(self, prompt: str) -> NDArray[np.float64]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.read, prompt)

    def read(self, prompt: str) -> NDArray[np.float64]:
        """(3,) probabilities of the tokens 0, 1, 2 against each other. Raises CallFailed."""
        ids = np.array(self._tokenizer.encode(prompt).ids, dtype=np.int64)
        try:
            (logits,) = self._session.run(None, {"ids": ids})
        except Exception as error:  # the runtime's own errors share no base of their own
            raise CallFailed("transient", f"the offline judge's model cannot be asked: {error}") from error
        return softmax(np.asarray(logits[0], dtype=np.float64))

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def prepare_offline(
    folder: Path | None = None, *, on_progress: OnProgress | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """The network's folder in the cache, made if need be (about 15 s); fetches the embedded model first.

    folder: of the judge's artefacts; None: the built-in ones. A new adapter gets a new folder.

    Raises ConfigError and MachineError as `pull` does.
    """
    from filelock import FileLock

    environ = os.environ if environ is None else environ
    folder = folder or built_in()
    trained = load_artefacts(folder).trained
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


def session_options() -> Any:
    """As many threads as this process may have; ONNX Runtime would count the machine's cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # threads that wait for work spin otherwise, and take the processor from the target's
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


@asynccontextmanager
async def open_offline(folder: Path | None = None, *, judge_id: str = "offline") -> AsyncIterator[OfflineJudge]:
    """The judge in a folder of artefacts (None: the built-in one), as long as the block lasts.

    Raises ConfigError and MachineError.
    """
    folder = folder or built_in()
    reader = await asyncio.to_thread(lambda: DigitReader(prepare_offline(folder)))
    try:
        yield OfflineJudge(reader, load_artefacts(folder), judge_id)
    finally:
        reader.close()
