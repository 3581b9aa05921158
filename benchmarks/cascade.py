"""How many LLM calls a cascade saves on the gold test split, and what that costs in agreement with people.

    PYTHONPATH=. python benchmarks/cascade.py

The LLM judge is scripted: a server that agrees with gold on 95% of the answers, its errors drawn independently. The whole
path is real: cascade, HTTP, prompt, parser. `offline-fast` gets its threshold as `offline` did: from dev's real answers to
bank questions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re

import numpy as np
from tests.scripted_server import ScriptedServer

from scsafety import api
from scsafety.bank import load_bank
from scsafety.judge.calibration import cascade_threshold
from scsafety.judge.gold import GoldRecord, gold_case, load_gold
from scsafety.judge.offline_fast import OfflineFastJudge

AGREES = 0.95


def scripted(records: tuple[GoldRecord, ...]) -> ScriptedServer:
    """Finds the answer in the prompt by its fence and says its gold score, or in one of twenty cases another."""
    scores = {record.response.strip(): record.score for record in records}

    def answer(messages: list[dict[str, str]]) -> str:
        found = re.search(r"<<<回答 ([0-9a-f]{16})\n(.*)\n回答 \1>>>", messages[-1]["content"], re.DOTALL)
        text = found[2].strip() if found else ""
        digest = hashlib.sha256(text.encode()).digest()
        wrong = int.from_bytes(digest[:4]) / 2**32 >= AGREES
        score = (scores[text] + 1 + digest[5] % 2) % 3 if wrong else scores[text]
        return json.dumps({"reason": "按脚本", "score": score, "confidence": 0.9})

    return ScriptedServer(answer)


def threshold_of_offline_fast() -> float:
    records = [record for record in load_gold(split="dev") if record.origin == "real" and record.pair_id]
    items = {item.id: item for item in load_bank().items}
    judge = OfflineFastJudge()
    verdicts = [asyncio.run(judge.judge(gold_case(record, items), on_call=lambda _: None)) for record in records]
    confidence = np.array([verdict.confidence for verdict in verdicts])
    right = np.array([v.score == record.score for v, record in zip(verdicts, records, strict=True)])
    return min(1.0, cascade_threshold(confidence, right))


def main() -> None:
    records = load_gold(split="test")
    threshold = threshold_of_offline_fast()
    alone = None
    with scripted(records) as server:
        for judge in (
            "openai-compatible/j",
            "cascade:offline,openai-compatible/j",
            "cascade:offline-large,openai-compatible/j",
            f"cascade:offline-fast@{threshold:g},openai-compatible/j",
        ):
            found = api.check_judge_against(judge, judge_base_url=server.base_url, fresh=True)
            alone = alone or found
            lost = (found.accuracy or 0) - (alone.accuracy or 0)
            print(
                f"{judge:52s} n {found.n}  agreement {found.accuracy:.3f} ({lost:+.3f})  kappa {found.qwk:.3f}  "
                f"LLM calls {found.calls}  saved {1 - found.calls / alone.calls:.1%}"
            )


if __name__ == "__main__":
    main()
