"""The corpus of hostile texts: what a model may write to harm whoever reads it."""

from __future__ import annotations

import json
from pathlib import Path

TEXTS: dict[str, str] = {
    record["name"]: record["text"] * record.get("times", 1)
    for record in map(json.loads, (Path(__file__).parent / "hostile.jsonl").read_text("ascii").splitlines())
}
MEGABYTE = "=<b>甲" * 200_000  # a single line
