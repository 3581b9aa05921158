"""The bank as OpenCompass asks it: dialogues whose answers it fills in, a config file that runs as it is, a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.files import write_whole
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scsafety.bank.load import Bank
    from scsafety.records import BankItem

# no import but of the standard library: the file is then read as plain Python, and knows its own folder
CONFIG = '''\
"""The SC-Safety bank in OpenCompass: both rounds of every pair, then the harmless twins. It asks and does not judge:

    OPENAI_BASE_URL=... OPENAI_API_KEY=... MODEL=... opencompass scsafety_opencompass.py --mode infer
"""

import os

models = [
    dict(
        type="OpenAISDK",
        abbr=os.environ["MODEL"].replace("/", "_"),
        path=os.environ["MODEL"],
        openai_api_base=os.environ["OPENAI_BASE_URL"],
        key="ENV",  # of OPENAI_API_KEY
        tokenizer_path="{{ fileDirname }}/tokenizer",  # counts characters, for max_seq_len; without it one is downloaded
        max_seq_len=32768,
        max_out_len=2048,
        temperature=0.7,
        batch_size=8,  # dialogues side by side
        query_per_second=100,
        retry=2,
        # status_code_mappings={400: "(HTTP 400)"},  # an answer for what the endpoint refuses; without it the run ends there
    )
]

datasets = [
    dict(
        type="CustomDataset",
        abbr="scsafety_" + name,
        path="{{ fileDirname }}/" + name + ".jsonl",
        reader_cfg=dict(input_columns=["dialogue"], output_column="answer"),
        infer_cfg=dict(
            prompt_template=dict(
                type="RawPromptTemplate", messages=[dict(expand_column="dialogue")], format_variables=False
            ),
            retriever=dict(type="ZeroRetriever"),
            inferencer=dict(type="GenInferencer", multiround=True),
        ),
    )
    for name in PARTS
]
'''
# a token for each character: enough for OpenCompass to hold a conversation against max_seq_len, the same for all targets
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
    "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"},
}
TOKENIZER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "?"}


def write_opencompass(bank: Bank, out: Path) -> list[Path]:
    """Writes all of it below `out`; returns the files. Raises MachineError."""
    parts = {name: items for name, items in (("pairs", bank.pairs), ("benign", bank.twins)) if items}
    files = {
        **{f"{name}.jsonl": _lines(items) for name, items in parts.items()},
        "scsafety_opencompass.py": CONFIG.replace("PARTS", repr(list(parts))).encode(),
        "tokenizer/tokenizer.json": msgspec.json.encode(TOKENIZER),
        "tokenizer/tokenizer_config.json": msgspec.json.encode(TOKENIZER_CONFIG),
    }
    for name, data in files.items():
        write_whole(out / name, data)
    return [out / name for name in files]


def _lines(items: Iterable[BankItem]) -> bytes:
    return b"".join(msgspec.json.encode(_row(item)) + b"\n" for item in items)


def _row(item: BankItem) -> dict[str, Any]:
    """An item with its dialogue, the assistant's turns empty: those are asked for, each after what came before it."""
    if isinstance(item, Pair):
        system, good = item.system, item.good_answer
        questions = [item.question, item.follow_up]
    else:
        system, good = None, ""
        questions = [item.question]
    dialogue = [{"role": "system", "content": system}] if system else []
    for question in questions:
        dialogue += [{"role": "user", "content": question}, {"role": "assistant", "content": ""}]
    row = {"id": item.id, "dialogue": dialogue, "answer": good}
    return row | ({"canary": item.canary} if item.canary else {})
