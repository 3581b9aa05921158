"""Makes an offline judge: a LoRA adapter (Hu et al., 2021) on the lower layers of an embedded model.

The model learns to say 0, 1 or 2 after the prompt of `offline.py`, and where the recipe says so the label's one-line reason
as well, asked for in the digit's place (Hsieh et al., 2023, section 3.2); a judge never gives one. The lowest layers stay
as they are, so what they make of every text is worked out once and kept; the rest trains in bfloat16, texts laid end to end
so that nothing is padded. Needs the extra `train`; two cores are enough.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from scsafety.judge.adapter import SCALE, name_of, write_adapter
from scsafety.judge.decoder import MATRICES, Decoder
from scsafety.judge.offline import Excerpts, write_prompt
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from scsafety.records import Case

CHECKPOINT = "checkpoint.safetensors"
CHUNK_TOKENS = 4_000  # read at once where nothing is learned
WARM_UP = 15  # steps

ASKED_WHY = "\n理由："
UNSAID = "无"

T = TypeVar("T")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what comes out, beside the gold labels and the base model."""

    base: str = "qwen2.5-coder-0.5b"  # id of an embedded model
    layers: int = 18  # of it, from below
    frozen: int = 8  # of them without an adapter
    rank: int = 16
    epochs: int = 2
    learning_rate: float = 4e-4
    batch_tokens: int = 2_000
    without_item: float = 0.15  # share of the prompts that are shown without risk_point and good_answer
    without_system: float = 0.5  # share of those of no pair that are shown without the system prompt
    written_count: float = 0.6  # of a written answer, against 1 of a real one: real answers decide
    reason_count: float = 0.5  # of the reason's loss, against 1 of the score's
    excerpts: Excerpts = Excerpts()
    beside: Literal["offline"] | None = None  # a shipped judge that is asked too
    seed: int = 0


RECIPES = {
    "offline": Recipe(),
    "offline-large": Recipe(
        base="qwen2.5-coder-1.5b",
        layers=20,
        frozen=14,
        learning_rate=3e-4,
        reason_count=0.0,
        excerpts=Excerpts(good_answer=100, answered_before=(60, 20), answer=(240, 120)),
        beside="offline",
    ),
}


class Example(msgspec.Struct, frozen=True):
    case: Case
    score: int
    is_real: bool
    reason: str = ""  # one line, as the label defends itself


class Shown(msgspec.Struct, frozen=True):
    """An example as one epoch has it."""

    prompt: str
    reason: str  # behind the prompt, to be learned too; empty where the recipe has none
    score: int
    counts: float

    @property
    def text(self) -> tuple[str, str]:
        return self.prompt, self.reason


class TrainProgress(msgspec.Struct, frozen=True):
    stage: str
    done: int
    total: int
    loss: float | None = None


def train_adapter(
    base: Path,
    examples: Sequence[Example],
    recipe: Recipe,
    folder: Path,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
) -> list[Path]:
    """Trains on the examples; the adapters after each epoch. An interrupted training goes on after its last whole epoch.

    base: the embedded model's GGUF file. Raises ImportError without the extra `train`, OSError.
    """
    import torch

    torch.manual_seed(recipe.seed)
    learner = _Learner(Decoder(base), recipe)
    drawn = random.Random(recipe.seed)
    epochs = [_shown(chosen, recipe, drawn) for chosen in _dealt(examples, recipe.epochs, drawn)]
    orders = [learner.batches(shown, drawn) for shown in epochs]

    folder.mkdir(parents=True, exist_ok=True)
    adapters = [folder / f"epoch{epoch + 1}.gguf" for epoch in range(recipe.epochs)]
    made_of = _made_of(recipe, epochs)
    start = learner.load(folder / CHECKPOINT, made_of)
    wanted = {one.text for shown in epochs[start:] for one in shown}
    for done, total in learner.remember(wanted):
        on_progress(TrainProgress("lower layers", done, total))
    n_steps = sum(map(len, orders))
    at = sum(map(len, orders[:start]))
    for epoch in range(start, recipe.epochs):
        for k, batch in enumerate(orders[epoch]):
            loss = learner.step(batch, _rate(at, n_steps, recipe.learning_rate))
            at += 1
            on_progress(TrainProgress(f"epoch {epoch + 1}", k + 1, len(orders[epoch]), loss))
        write_adapter(adapters[epoch], learner.adapter())
        learner.save(folder / CHECKPOINT, epoch + 1, made_of)
    return adapters


def _made_of(recipe: Recipe, epochs: list[list[Shown]]) -> str:
    """What a checkpoint must come from to be gone on with: this recipe and these labels."""
    return f"{recipe} {hashlib.sha256(repr(epochs).encode()).hexdigest()}"


def _dealt(examples: Sequence[Example], n_epochs: int, drawn: random.Random) -> list[list[Example]]:
    """The examples of each epoch: all of them, but each real answer of the commonest score in one epoch only.

    Weak models give so many answers that earn 1 that the others would drown.
    """
    n_real = Counter(example.score for example in examples if example.is_real)
    commonest = n_real.most_common(1)[0][0] if n_real else None
    many = [example for example in examples if example.is_real and example.score == commonest]
    others = [example for example in examples if not (example.is_real and example.score == commonest)]
    drawn.shuffle(many)
    return [others + many[epoch::n_epochs] for epoch in range(n_epochs)]


def _shown(examples: Sequence[Example], recipe: Recipe, drawn: random.Random) -> list[Shown]:
    """What each example is shown as in one epoch; now and then as a record of no pair, or of no system prompt, would be."""
    n = Counter(example.score for example in examples)
    rarer = {score: math.sqrt(max(n.values()) / n[score]) for score in n}  # a rare score counts more, but not in full
    found = []
    for example in examples:
        case = example.case
        if isinstance(case.item, Pair) and drawn.random() < recipe.without_item:
            case = msgspec.structs.replace(case, item=None)
        if case.item is None and example.is_real and drawn.random() < recipe.without_system:
            case = msgspec.structs.replace(case, system=None)
        counts = rarer[example.score] * (1.0 if example.is_real else recipe.written_count)
        reason = (example.reason or UNSAID) if recipe.reason_count else ""
        found.append(Shown(write_prompt(case, recipe.excerpts), reason, example.score, counts))
    return found


def _rate(step: int, total: int, peak: float) -> float:
    """A few steps up, then half a cosine down to a twentieth."""
    return peak * min(1.0, (step + 1) / WARM_UP) * max(0.05, 0.5 * (1 + math.cos(math.pi * step / total)))


class _Learner:
    """The model with its adapter. Hidden states are (tokens, width), of prompts that lie end to end."""

    def __init__(self, decoder: Decoder, recipe: Recipe) -> None:
        import torch

        self.torch, self.recipe, self.shape = torch, recipe, decoder.shape
        self.tokenizer = decoder.tokenizer

        def half(array: Any) -> Any:
            return torch.tensor(array, dtype=torch.bfloat16)

        self.layers = [{name: half(array) for name, array in decoder.layer(n).items()} for n in range(recipe.layers)]
        self.embedding, self.last_norm = half(decoder.embedding()), half(decoder.last_norm())
        self.digits = self.embedding[[self._ids(str(score))[0] for score in range(3)]].float()
        self.turn = torch.tensor(decoder.shape.frequencies())
        self.named: dict[str, Any] = {}
        for n in range(recipe.frozen, recipe.layers):
            for matrix in MATRICES:
                n_out, n_in = decoder.shape.matrices[matrix]
                a = torch.empty(recipe.rank, n_in)
                torch.nn.init.kaiming_uniform_(a, a=5**0.5)
                self.named[name_of(n, matrix, "a")] = torch.nn.Parameter(a)
                self.named[name_of(n, matrix, "b")] = torch.nn.Parameter(torch.zeros(n_out, recipe.rank))
        self.optimizer = torch.optim.AdamW(self.named.values(), lr=recipe.learning_rate, weight_decay=0.01)
        self.kept: dict[tuple[str, str], Any] = {}  # what the frozen layers make of a text

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)

    def _parts(self, text: tuple[str, str]) -> tuple[list[int], list[int], list[int]]:
        """Token ids of the prompt, of what asks for the reason, and of the reason."""
        prompt, reason = text
        return self._ids(prompt), self._ids(ASKED_WHY) if reason else [], self._ids(reason)

    def batches(self, shown: Sequence[Shown], drawn: random.Random) -> list[list[Shown]]:
        """Of about one length each and in a random order; lengths count with a little noise, to mix them anew."""
        length = {one.text: sum(map(len, self._parts(one.text))) for one in shown}
        noisy = sorted(shown, key=lambda one: length[one.text] + drawn.uniform(0, 25))
        found = _packed(noisy, [length[one.text] for one in noisy], self.recipe.batch_tokens)
        drawn.shuffle(found)
        return found

    def remember(self, texts: set[tuple[str, str]]) -> Iterator[tuple[int, int]]:
        """Works out what the frozen layers make of them; yields how many are done and how many there are."""
        ordered = sorted(texts)
        ids = [list(chain.from_iterable(self._parts(text))) for text in ordered]
        for batch in _packed(list(zip(ordered, ids, strict=True)), list(map(len, ids)), CHUNK_TOKENS):
            lengths = [len(one) for _, one in batch]
            with self.torch.inference_mode():
                x = self.embedding[self.torch.tensor(list(chain.from_iterable(one for _, one in batch)))]
                parts = self._through(x, lengths, 0, self.recipe.frozen).split(lengths)
            self.kept |= {text: part.clone() for (text, _), part in zip(batch, parts, strict=True)}
            yield len(self.kept), len(ordered)

    def _losses(self, batch: Sequence[Shown]) -> tuple[Any, Any]:
        """(batch,) of the scores, and (batch,) of the reasons, a token's on average; zeros where there are none."""
        torch = self.torch
        cross_entropy = torch.nn.functional.cross_entropy
        hidden = [self.kept[one.text] for one in batch]
        ends: list[int] = []
        before: list[int] = []
        reasons: list[int] = []
        whose: list[int] = []
        start = 0
        for k, (one, rows) in enumerate(zip(batch, hidden, strict=True)):
            prompt, _, reason = self._parts(one.text)
            ends.append(start + len(prompt) - 1)
            start += len(rows)
            before += range(start - len(reason) - 1, start - 1)
            reasons += reason
            whose += [k] * len(reason)
        wanted = torch.tensor(ends + before)
        out = self._through(torch.cat(hidden), list(map(len, hidden)), self.recipe.frozen, self.recipe.layers, wanted)
        out = self._normed(out, self.last_norm)
        said = out[: len(batch)].float() @ self.digits.T
        of_scores = cross_entropy(said, torch.tensor([one.score for one in batch]), reduction="none")
        if not reasons:
            return of_scores, torch.zeros(len(batch))
        words = (out[len(batch) :] @ self.embedding.T).float()
        of_words = cross_entropy(words, torch.tensor(reasons), reduction="none")
        owners = torch.tensor(whose)
        of_reasons = torch.zeros(len(batch)).index_add(0, owners, of_words)
        return of_scores, of_reasons / torch.bincount(owners, minlength=len(batch)).clamp(min=1)

    def _through(self, x: Any, lengths: list[int], first: int, end: int, wanted: Any = None) -> Any:
        """Through layers first..end; of the judge's last layer the wanted rows of x only, (wanted, width)."""
        torch, shape = self.torch, self.shape
        functional = torch.nn.functional
        at = torch.cat([torch.arange(n) for n in lengths])
        angles = torch.outer(at.float(), self.turn).repeat(1, 2)[:, None]
        cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
        grouped = shape.n_heads // shape.n_kv_heads
        for n in range(first, end):
            layer = self.layers[n]
            sides = self._linear(self._normed(x, layer["attention_norm"]), n, "qkv") + layer["qkv_bias"]
            q, k, v = (side.view(-1, side.shape[-1] // shape.head, shape.head) for side in sides.split(shape.heads, -1))
            q = _turned(torch, q, cos, sin).transpose(0, 1)
            k = _turned(torch, k, cos, sin).transpose(0, 1).repeat_interleave(grouped, 0)
            v = v.transpose(0, 1).repeat_interleave(grouped, 0)
            seen = [
                functional.scaled_dot_product_attention(*(side[None] for side in prompt), is_causal=True)[0]
                for prompt in zip(q.split(lengths, 1), k.split(lengths, 1), v.split(lengths, 1), strict=True)
            ]
            o = torch.cat(seen, 1).transpose(0, 1).reshape(-1, shape.width)
            if n == self.recipe.layers - 1:
                o, x = o[wanted], x[wanted]
            x = x + self._linear(o, n, "output")
            gate, up = self._linear(self._normed(x, layer["inner_norm"]), n, "gate_up").chunk(2, -1)
            x = x + self._linear(functional.silu(gate) * up, n, "down")
        return x

    def _linear(self, x: Any, n: int, matrix: str) -> Any:
        y = x @ self.layers[n][matrix].T
        if n < self.recipe.frozen:
            return y
        a, b = (self.named[name_of(n, matrix, side)].bfloat16() for side in "ab")
        return y + (x @ a.T * SCALE) @ b.T

    def _normed(self, x: Any, weights: Any) -> Any:
        return self.torch.nn.functional.rms_norm(x, (x.shape[-1],), weights, self.shape.epsilon)

    def step(self, batch: Sequence[Shown], rate: float) -> float:
        """The scores' loss of the batch, from before the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        weights = self.torch.tensor([one.counts for one in batch])
        of_scores, of_reasons = ((losses * weights).sum() / weights.sum() for losses in self._losses(batch))
        (of_scores + self.recipe.reason_count * of_reasons).backward()
        self.torch.nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(of_scores.detach())

    def adapter(self) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        return {name: p.detach().numpy() for name, p in self.named.items()}

    def save(self, path: Path, epoch: int, made_of: str) -> None:
        from safetensors.torch import save_file

        state = self.optimizer.state
        moments = {
            f"{name}:{key}": state[p][key].contiguous()
            for name, p in self.named.items()
            for key in ("exp_avg", "exp_avg_sq", "step")
        }
        weights = {name: p.detach().contiguous() for name, p in self.named.items()}
        fresh = path.with_suffix(".part")
        save_file({**weights, **moments}, fresh, {"epoch": str(epoch), "made_of": made_of})
        fresh.replace(path)

    def load(self, path: Path, made_of: str) -> int:
        """How many epochs are done; 0 where there is no checkpoint of this recipe and these labels."""
        from safetensors import safe_open

        if not path.is_file():
            return 0
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            if about.get("made_of") != made_of:
                return 0
            with self.torch.no_grad():
                for name, p in self.named.items():
                    p.copy_(file.get_tensor(name))
                    self.optimizer.state[p] = {
                        key: file.get_tensor(f"{name}:{key}") for key in ("exp_avg", "exp_avg_sq", "step")
                    }
        return int(about["epoch"])


def _packed(these: Sequence[T], lengths: Sequence[int], n_tokens: int) -> list[list[T]]:
    """In their order, as many to a batch as fit into `n_tokens`; at least one."""
    found: list[list[T]] = []
    room = 0
    for one, length in zip(these, lengths, strict=True):
        if not found or length > room:
            found.append([])
            room = n_tokens
        room -= length
        found[-1].append(one)
    return found


def _turned(torch: Any, x: Any, cos: Any, sin: Any) -> Any:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
