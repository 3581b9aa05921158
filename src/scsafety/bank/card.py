"""The folder that Hugging Face `datasets` reads: JSON Lines below `data/`, and a card whose header says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scsafety.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

DTYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}


class Config(NamedTuple):
    """One table of a data set."""

    name: str
    columns: Mapping[str, type]  # str, int, float, bool; tuple: of texts
    n_rows: int


def write_dataset(
    folder: Path, lines: Mapping[str, Iterable[bytes]], columns: Mapping[str, Mapping[str, type]]
) -> list[Config]:
    """`data/NAME.jsonl` for each table that has a row; what they are, for the card. Raises MachineError."""
    found = []
    for name, rows in lines.items():
        held = [row + b"\n" for row in rows]
        if held:
            write_whole(folder / "data" / f"{name}.jsonl", b"".join(held))
            found.append(Config(name, columns[name], len(held)))
    return found


def card(configs: Sequence[Config], body: str, **facts: Any) -> str:
    """`README.md`: the header in YAML, the text, and a table of every field."""
    head = [f"{name}: {_yaml(value)}" for name, value in facts.items()]
    files, features = ["configs:"], ["dataset_info:"]
    for config in configs:
        path = f"data/{config.name}.jsonl"
        files += [f"- config_name: {config.name}", "  data_files:", "  - split: test", f"    path: {path}"]
        features += [f"- config_name: {config.name}", "  features:"]
        for name, kind in config.columns.items():
            features += [
                f"  - name: {name}",
                f"    {'sequence: string' if kind is tuple else f'dtype: {DTYPES[kind]}'}",
            ]
    counts = ["| config | rows | fields |", "|---|---|---|"]
    counts += [f"| `{one.name}` | {one.n_rows} | {', '.join(f'`{name}`' for name in one.columns)} |" for one in configs]
    usage = f'datasets.load_dataset("FOLDER", "{configs[0].name}", split="test")' if configs else "nothing to load"
    return "\n".join(
        ["---", *head, *files, *features, "---", "", body.strip(), "", *counts, "", "```python", usage, "```", ""]
    )


def _yaml(value: Any) -> str:
    """JSON is YAML."""
    return msgspec.json.encode(value).decode()
