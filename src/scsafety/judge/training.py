"""Makes the offline judge: a LoRA adapter (Hu et al., 2021) on the lower layers of the embedded model, and its calibration.

The model learns to say 0, 1 or 2 after the prompt of `offline.py`. The lowest layers stay as they are, so what they make
of every prompt is worked out once and kept; the rest trains in bfloat16. Needs the extra `train`; two cores are enough.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from scsafety.judge.offline import write_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scsafety.records import Case

LAYER_OF = {  # of a module in transformers: its tensor in a GGUF file
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
CHECKPOINT = "checkpoint.safetensors"
T = TypeVar("T")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what comes out, beside the gold labels and the base model."""

    layers: int = 10  # of the base model, from below
    frozen: int = 4  # of them without an adapter
    rank: int = 16
    epochs: int = 3
    learning_rate: float = 4e-4
    batch_tokens: int = 1_500
    without_item: float = 0.2  # share of the prompts that are shown without risk_point and good_answer
    seed: int = 0


class Example(msgspec.Struct, frozen=True):
    case: Case
    score: int


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

    base: the GGUF file of the model's first layers (`targets.truncated`). Raises ImportError without the extra `train`,
    OSError.
    """
    import torch

    torch.manual_seed(recipe.seed)
    learner = _Learner(base, recipe)
    drawn = random.Random(recipe.seed)
    shown = [_shown(examples, recipe, drawn) for _ in range(recipe.epochs)]
    wanted = sorted({prompt for chosen in shown for prompt, _ in chosen})
    for k, batch in enumerate(batches := learner.batches(wanted, 2 * recipe.batch_tokens)):
        learner.remember(batch)
        on_progress(TrainProgress("lower layers", k + 1, len(batches)))
    learner.to_upper_layers()

    folder.mkdir(parents=True, exist_ok=True)
    adapters = [folder / f"epoch{epoch + 1}.gguf" for epoch in range(recipe.epochs)]
    start = learner.load(folder / CHECKPOINT)
    n_steps: int | None = None
    for epoch, chosen in enumerate(shown):
        steps = learner.shuffled(
            chosen, recipe.batch_tokens, drawn
        )  # also of a done epoch: the next one's order hangs on it
        n_steps = n_steps or len(steps)
        if epoch < start:
            continue
        for k, step in enumerate(steps):
            at = epoch * n_steps + k
            loss = learner.step(step, _rate(at, recipe.epochs * n_steps, recipe.learning_rate))
            on_progress(TrainProgress(f"epoch {epoch + 1}", k + 1, len(steps), loss))
        learner.export(adapters[epoch])
        learner.save(folder / CHECKPOINT, epoch + 1)
    return adapters


def _shown(examples: Sequence[Example], recipe: Recipe, drawn: random.Random) -> list[tuple[str, int]]:
    """Prompt and score of each example for one epoch; now and then as a record of no pair would be shown."""
    bare = [drawn.random() < recipe.without_item for _ in examples]
    cases = [
        msgspec.structs.replace(e.case, item=None) if hide else e.case for e, hide in zip(examples, bare, strict=True)
    ]
    return [(write_prompt(case), e.score) for case, e in zip(cases, examples, strict=True)]


def _packed(these: Sequence[T], length: Callable[[T], int], n_tokens: int) -> list[list[T]]:
    """In their order, as many to a batch as fit into `n_tokens` with each padded to the longest."""
    found: list[list[T]] = []
    longest = 0
    for one in these:
        longest = max(longest, length(one))
        if not found or (len(found[-1]) + 1) * longest > n_tokens:
            found.append([])
            longest = length(one)
        found[-1].append(one)
    return found


def _rate(step: int, total: int, peak: float) -> float:
    """Ten steps up, then half a cosine down to a twentieth."""
    return peak * min(1.0, (step + 1) / 10) * max(0.05, 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))


class _Learner:
    """The model with its adapter."""

    def __init__(self, base: Path, recipe: Recipe) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        self.torch, self.recipe = torch, recipe
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)
        model: Any = AutoModelForCausalLM.from_pretrained(
            base.parent,
            gguf_file=base.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        adapted = range(recipe.frozen, recipe.layers)
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=2 * recipe.rank,
            target_modules=list(LAYER_OF),
            layers_to_transform=list(adapted),
        )
        get_peft_model(model, config)  # puts the adapter's modules into the model
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.body: Any = model.model
        self.head = model.lm_head.weight
        self.lower, self.upper = self.body.layers[: recipe.frozen], self.body.layers[recipe.frozen :]
        self.norm = self.body.norm
        self.body.layers, self.body.norm = self.lower, torch.nn.Identity()
        self.digits = [self.tokenizer.encode(str(score))[0] for score in range(3)]
        self.optimizer = torch.optim.AdamW(self.named.values(), lr=recipe.learning_rate, weight_decay=0.01)
        self.kept: dict[str, Any] = {}  # what the lower layers make of a prompt, (tokens, width)
        self.ids: dict[str, list[int]] = {}

    def to_upper_layers(self) -> None:
        self.body.layers, self.body.norm = self.upper, self.norm

    def length(self, prompt: str) -> int:
        if prompt not in self.ids:
            self.ids[prompt] = self.tokenizer.encode(prompt)
        return len(self.ids[prompt])

    def batches(self, prompts: Sequence[str], n_tokens: int) -> list[list[str]]:
        """Of about one length each, at most `n_tokens` with the padding."""
        return _packed(sorted(prompts, key=self.length), self.length, n_tokens)

    def remember(self, prompts: Sequence[str]) -> None:
        torch = self.torch
        longest = max(map(self.length, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        for k, prompt in enumerate(prompts):
            ids[k, : self.length(prompt)] = torch.tensor(self.ids[prompt])
        with torch.no_grad():
            hidden = self.body(input_ids=ids, attention_mask=self._mask(prompts), use_cache=False).last_hidden_state
        for k, prompt in enumerate(prompts):
            self.kept[prompt] = hidden[k, : self.length(prompt)].clone()

    def _mask(self, prompts: Sequence[str]) -> Any:
        lengths = self.torch.tensor([self.length(prompt) for prompt in prompts])
        return (self.torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).long()

    def logits(self, prompts: Sequence[str]) -> Any:
        """(prompts, vocabulary) of the next token."""
        torch = self.torch
        hidden = torch.nn.utils.rnn.pad_sequence([self.kept[prompt] for prompt in prompts], batch_first=True)
        out = self.body(inputs_embeds=hidden, attention_mask=self._mask(prompts), use_cache=False).last_hidden_state
        ends = torch.tensor([self.length(prompt) - 1 for prompt in prompts])
        return (out[torch.arange(len(prompts)), ends] @ self.head.T).float()

    def shuffled(
        self, chosen: Sequence[tuple[str, int]], n_tokens: int, drawn: random.Random
    ) -> list[list[tuple[str, int]]]:
        """Batches of about one length, mixed anew: lengths count with a little noise."""
        noisy = sorted(chosen, key=lambda one: self.length(one[0]) + drawn.uniform(0, 25))
        found = _packed(noisy, lambda one: self.length(one[0]), n_tokens)
        drawn.shuffle(found)
        return found

    def step(self, batch: Sequence[tuple[str, int]], rate: float) -> float:
        torch = self.torch
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits = self.logits([prompt for prompt, _ in batch])
        scores = torch.tensor([score for _, score in batch])
        loss = torch.nn.functional.cross_entropy(logits[:, self.digits], scores)
        # a little over the whole vocabulary, so that the digits are what it says next
        whole = loss + 0.1 * torch.nn.functional.cross_entropy(logits, torch.tensor(self.digits)[scores])
        whole.backward()
        torch.nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss)

    def save(self, path: Path, epoch: int) -> None:
        from safetensors.torch import save_file

        state = self.optimizer.state
        moments = {
            f"{name}:{key}": state[p][key].contiguous()
            for name, p in self.named.items()
            for key in ("exp_avg", "exp_avg_sq", "step")
        }
        weights = {name: p.detach().contiguous() for name, p in self.named.items()}
        fresh = path.with_suffix(".part")
        save_file({**weights, **moments}, fresh, {"epoch": str(epoch), "recipe": repr(self.recipe)})
        fresh.replace(path)

    def load(self, path: Path) -> int:
        """How many epochs are done; 0 where there is no checkpoint of this recipe."""
        from safetensors import safe_open

        if not path.is_file():
            return 0
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            if about.get("recipe") != repr(self.recipe):
                return 0
            with self.torch.no_grad():
                for name, p in self.named.items():
                    p.copy_(file.get_tensor(name))
                    self.optimizer.state[p] = {
                        key: file.get_tensor(f"{name}:{key}") for key in ("exp_avg", "exp_avg_sq", "step")
                    }
        return int(about["epoch"])

    def export(self, path: Path) -> None:
        """The adapter as llama.cpp loads it, weights in float16."""
        from gguf import GGUFWriter

        fresh = path.with_suffix(".part")
        writer = GGUFWriter(fresh, "qwen2")
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 2 * self.recipe.rank)
        for name, p in self.named.items():
            parts = name.split(".")
            layer, module, side = parts[parts.index("layers") + 1], parts[-4], parts[-3]
            tensor = f"blk.{layer}.{LAYER_OF[module]}.weight.{side.lower()}"
            writer.add_tensor(tensor, p.detach().float().numpy().astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        fresh.replace(path)
