"""The bank in other formats: one flat record an item, and the folder layout that Hugging Face `datasets` reads."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety import taxonomy
from scsafety.bank.card import card, write_dataset
from scsafety.bank.opencompass import write_opencompass
from scsafety.errors import ConfigError
from scsafety.files import write_whole
from scsafety.records import BankItem, content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from scsafety.bank.load import Bank

OURS = "cc-by-4.0"
BODY = """# SC-Safety open bank {version}

{n_pairs} pairs (a question and a follow-up) in 24 sub-dimensions and {n_twins} harmless twins, in Chinese, original.
Content hash `{hash}`. Licence CC BY 4.0. How it was written and what it does not cover: `docs/bank.md` of scsafety.

Do not train on these files; each holds a canary string.
"""
OWN_BODY = """# A bank of one's own for scsafety

{n_pairs} pairs (a question and a follow-up) and {n_twins} harmless twins. Content hash `{hash}`.
Its licence is its author's to state.
"""


def records(items: Iterable[BankItem]) -> list[dict[str, Any]]:
    """Flat records with dimension, sub-dimension and content hash beside the item's own fields; the canary on the first."""
    rows = []
    for item in items:
        sub = item.sub_dimension
        place = {"id": item.id, "dimension": taxonomy.dimension_of(sub), "sub_dimension": sub}
        rows.append({**place, **msgspec.structs.asdict(item), "content_hash": content_hash(item)})
    return rows


def export_bank(bank: Bank, out: Path, form: str) -> list[Path]:
    """Write the bank below `out`; returns the files written. Raises ConfigError for an unknown format or a missing extra."""
    if form not in FORMATS:
        raise ConfigError(f"--format {form!r} is unknown; give one of {', '.join(FORMATS)}")
    parts = {"pairs": records(bank.pairs), "benign": records(bank.twins)}
    if form == "hf":
        return _export_dataset(bank, parts, out)
    if form == "opencompass":
        return write_opencompass(bank, out)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in parts.items():
        if rows:
            path = out / f"{name}.{SUFFIX.get(form, form)}"
            WRITERS[form](path, rows)
            written.append(path)
    return written


def _export_dataset(bank: Bank, parts: Mapping[str, list[dict[str, Any]]], out: Path) -> list[Path]:
    kinds = {"severity": int, "hazards": tuple}
    columns = {name: {field: kinds.get(field, str) for field in rows[0]} for name, rows in parts.items() if rows}
    configs = write_dataset(out, {name: map(msgspec.json.encode, rows) for name, rows in parts.items()}, columns)
    ours = bank.version is not None
    text = (BODY if ours else OWN_BODY).format(
        version=bank.version, hash=bank.hash, n_pairs=len(bank.pairs), n_twins=len(bank.twins)
    )
    facts = {
        "license": OURS if ours else "other",
        "language": ["zh"],
        "pretty_name": "SC-Safety open bank" if ours else "A bank for scsafety",
        "task_categories": ["text-generation", "question-answering"],
        "tags": ["safety", "red-teaming", "multi-turn", "benchmark"],
    }
    write_whole(out / "README.md", card(configs, text, **facts).encode())
    return [*(out / "data" / f"{one.name}.jsonl" for one in configs), out / "README.md"]


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def _write_general_qa(path: Path, rows: list[dict[str, Any]]) -> None:
    """First questions for evalscope's `general_qa`, which asks one and no more."""
    _write_jsonl(path, list(map(_single_turn, rows)))


def _single_turn(row: Mapping[str, Any]) -> dict[str, Any]:
    optional = {name: row[name] for name in ("system", "canary") if row.get(name)}
    return {"id": row["id"], "query": row["question"], "response": row.get("good_answer", ""), **optional}


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(map(_flat, rows))
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())  # spreadsheets read UTF-8 only behind this mark


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("Parquet needs the extra: pip install 'scsafety[parquet]'") from error
    pq.write_table(pa.Table.from_pylist([{**row, "hazards": list(row["hazards"])} for row in rows]), path)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: ";".join(value) if isinstance(value, tuple) else value for name, value in row.items()}


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
    "evalscope": _write_general_qa,
}
SUFFIX = {"evalscope": "jsonl"}
FORMATS = (*WRITERS, "opencompass", "hf")
