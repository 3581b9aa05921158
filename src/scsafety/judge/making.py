"""`judge-train`: from gold labels to the folder that an offline judge is opened from. The adapter first, then its calibration."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.judge.calibration import cascade_threshold, fit_weights
from scsafety.judge.decoder import Decoder
from scsafety.judge.gold import gold_case, gold_hash
from scsafety.judge.graph import build_graph
from scsafety.judge.offline import (
    ADAPTER,
    GRAPH,
    SETTINGS,
    Excerpts,
    Trained,
    built_in,
    features,
    load_artefacts,
    softmax,
    write_prompt,
)
from scsafety.judge.offline_model import WEIGHTS, Network, cores, prepare_offline, write_model
from scsafety.judge.training import Example, Recipe, TrainProgress, train_adapter
from scsafety.metrics.agreement import count, figures
from scsafety.records import Pair
from scsafety.targets.models import embedded_model, pull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scsafety.judge.gold import GoldRecord
    from scsafety.records import Case, Item
    from scsafety.targets.model_file import OnProgress

WORK = "training"  # folder of checkpoints, gone at the end
FOLDS = 5


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What `judge-train` says at its end; the figures are on the dev split, each record calibrated without its own pair."""

    folder: str
    n_train: int
    n_dev: int
    epoch: int  # the one whose adapter was kept: highest kappa on dev
    accuracy: float
    cascade_threshold: float
    decides: float  # share of the dev split on which it is that sure


def make_judge(
    records: Sequence[GoldRecord],
    items: Mapping[str, Item],
    folder: Path,
    recipe: Recipe,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    on_pull: OnProgress | None = None,
) -> Made:
    """Trains on the split `train`, keeps the epoch that is best on `dev`, calibrates it there; `test` is not looked at.

    Raises ConfigError where a split is missing or the extra `train` is not installed, MachineError for the model's file.
    """
    train = [record for record in records if record.split == "train"]
    dev = [record for record in records if record.split == "dev"]
    if not train or not dev:
        raise ConfigError(
            f"the gold labels have {len(train)} records to train on and {len(dev)} of split dev; both are needed"
        )
    if not 0 <= recipe.frozen < recipe.layers:
        raise ConfigError(f"of {recipe.layers} layers {recipe.frozen} stay as they are: nothing would be learned")
    folder.mkdir(parents=True, exist_ok=True)
    base = pull(embedded_model(recipe.base), on_progress=on_pull)
    examples = [
        Example(gold_case(record, items), record.score, record.origin == "real", record.note) for record in train
    ]
    try:
        write_graph(folder / GRAPH, base, recipe.layers)
        adapters = train_adapter(base, examples, recipe, folder / WORK, on_progress=on_progress)
    except ImportError as error:
        raise ConfigError(f"training needs more packages ({error}): pip install 'scsafety[train]'") from error

    cases = [gold_case(record, items) for record in dev]
    bare = [msgspec.structs.replace(case, item=None) for case in cases if isinstance(case.item, Pair)]
    others = beside(recipe, [*cases, *bare], on_progress)

    def read(adapter: Path, cases: Sequence[Case], rows: slice) -> NDArray[np.float64]:
        own = features(ask(base, folder / GRAPH, adapter, recipe, cases, on_progress))
        return np.asarray(np.mean([own, *(other[rows] for other in others)], axis=0))

    n = len(cases)
    found = [Calibration(read(adapter, cases, slice(n)), dev) for adapter in adapters]
    best = max(found, key=lambda one: one.kappa)
    kept = adapters[found.index(best)]
    of_pairs = np.array([isinstance(case.item, Pair) for case in cases])
    without = best.x.copy()  # as the judge reads a record of no pair: most are that already
    if bare:
        without[of_pairs] = read(kept, bare, slice(n, None))
    x, both = np.vstack([best.x, without]), [*dev, *dev]
    trained = Trained(
        base=recipe.base,
        layers=recipe.layers,
        weights=_fitted(x, both, _counts(both)),
        sure=_fitted(x, both, np.ones(len(both))),
        cascade_threshold=best.threshold,
        gold_hash=gold_hash([*train, *dev]),
        excerpts=recipe.excerpts,
        beside=recipe.beside,
    )
    shutil.copyfile(kept, folder / ADAPTER)
    write_whole(folder / SETTINGS, msgspec.json.format(msgspec.json.encode(trained), indent=1))
    shutil.rmtree(folder / WORK)
    return Made(
        folder=str(folder),
        n_train=len(train),
        n_dev=len(dev),
        epoch=found.index(best) + 1,
        accuracy=float(best.right.mean()),
        cascade_threshold=best.threshold,
        decides=float((best.sure >= best.threshold).mean()),
    )


class Calibration:
    """Features, (n, 3), of labelled answers; every figure is of records calibrated without their own pair."""

    def __init__(self, x: NDArray[np.float64], records: Sequence[GoldRecord]) -> None:
        self.x, y = x, _scores(records)
        clusters = [record.cluster for record in records]
        given = held_out(x, y, _counts(records), clusters).argmax(axis=1)
        self.right: NDArray[np.bool_] = given == y
        self.kappa = float(figures(count(y.tolist(), given.tolist()))["qwk_even"])
        agrees = held_out(x, y, np.ones(len(y)), clusters)
        self.sure: NDArray[np.float64] = agrees[np.arange(len(given)), given]
        self.threshold = cascade_threshold(*(of[_as_in_a_run(records)] for of in (self.sure, self.right)))


def _fitted(x: NDArray[np.float64], records: Sequence[GoldRecord], counts: NDArray[np.float64]) -> list[list[float]]:
    return cast("list[list[float]]", np.round(fit_weights(x, _scores(records), counts), 5).tolist())


def _scores(records: Sequence[GoldRecord]) -> NDArray[np.int64]:
    return np.array([record.score for record in records])


def _counts(records: Sequence[GoldRecord]) -> NDArray[np.float64]:
    """(n,) of each record; of the real answers each score counts the same in all, however rarely weak models earn it."""
    n = Counter((record.origin, record.score) for record in records)
    n_real = sum(record.origin == "real" for record in records)
    return np.array(
        [n_real / (3 * n[record.origin, record.score]) if record.origin == "real" else 1.0 for record in records]
    )


def _as_in_a_run(records: Sequence[GoldRecord]) -> NDArray[np.bool_]:
    """(n,) which of them a cascade might meet: a model's answers to a bank's questions. All, where the labels have none such.

    Where a judge is sure it is right more often on plain questions and written answers: counted in, they let too much pass.
    """
    found = np.array([record.origin == "real" and record.pair_id is not None for record in records])
    return found if found.any() else ~found


def write_graph(path: Path, base: Path, n_layers: int) -> None:
    """Raises ImportError without the extra `train`, ConfigError where the base has fewer layers, OSError."""
    shape = Decoder(base).shape
    if n_layers > shape.n_layers:
        raise ConfigError(f"{base.name} has {shape.n_layers} layers, not {n_layers}")
    path.write_bytes(build_graph(shape, n_layers, WEIGHTS))


def ask(
    base: Path,
    graph: Path,
    adapter: Path,
    recipe: Recipe,
    cases: Sequence[Case],
    on_progress: Callable[[TrainProgress], None],
) -> NDArray[np.float64]:
    """(n, 3) the digits' probabilities, from the very network that the judge will use."""
    model = adapter.with_suffix(".model")
    shutil.rmtree(model, ignore_errors=True)  # of an interrupted calibration
    try:
        write_model(model, base, graph, adapter, recipe.layers)
        return _asked(Network(model), recipe.excerpts, cases, "calibration", on_progress)
    finally:
        shutil.rmtree(model, ignore_errors=True)


def beside(
    recipe: Recipe, cases: Sequence[Case], on_progress: Callable[[TrainProgress], None]
) -> list[NDArray[np.float64]]:
    """(n, 3) what the shipped judge that the recipe names makes of the cases, as features; nothing where it names none."""
    if recipe.beside is None:
        return []
    folder = built_in(recipe.beside)
    (model,) = prepare_offline(folder)
    excerpts = load_artefacts(folder).trained.excerpts
    return [features(_asked(Network(model), excerpts, cases, f"{recipe.beside} beside it", on_progress))]


def _asked(
    network: Network,
    excerpts: Excerpts,
    cases: Sequence[Case],
    stage: str,
    on_progress: Callable[[TrainProgress], None],
) -> NDArray[np.float64]:
    found = []
    with ThreadPoolExecutor(cores()) as threads:
        for digits in threads.map(network.read, [write_prompt(case, excerpts) for case in cases]):
            found.append(digits)
            on_progress(TrainProgress(stage, len(found), len(cases)))
    return np.array(found)


def held_out(
    x: NDArray[np.float64], y: NDArray[np.int64], counts: NDArray[np.float64], clusters: Sequence[str]
) -> NDArray[np.float64]:
    """(n, 3) probabilities of each record, calibrated on the others: whole clusters in turn."""
    names = sorted(set(clusters))
    fold = np.array([names.index(name) % FOLDS for name in clusters])
    p = np.zeros((len(y), 3))
    for k in range(FOLDS):
        here = fold == k
        weights = fit_weights(x[~here], y[~here], counts[~here])
        p[here] = softmax(x[here] @ weights[:, :-1].T + weights[:, -1])
    return p
