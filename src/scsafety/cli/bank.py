"""`scsafety bank stats|audit|export|show|try`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.console import table_console, warn_of_exposed_key
from scsafety.errors import BankError, ConfigError
from scsafety.files import write_whole

if TYPE_CHECKING:
    from rich.console import Console

    from scsafety.bank import Bank
    from scsafety.records import Pair

app = typer.Typer(help="The question bank: what it holds, and trying a pair of your own.", no_args_is_help=True)

QUESTION_FIELDS = ("question", "prompt", "query", "instruction")  # what published sets call it

BankOption = Annotated[
    list[Path] | None, typer.Option(metavar="PATH", help="Your own bank instead of the built-in one.")
]


@app.command(epilog="Example: scsafety bank stats --standard gbt45654")
def stats(
    bank: BankOption = None,
    standard: Annotated[
        str | None, typer.Option(metavar="S", help="Coverage of another standard: gbt45654, ailuminate, owasp-llm.")
    ] = None,
) -> None:
    """Pairs and harmless twins by sub-dimension, with version and hash."""
    from collections import Counter

    from rich.table import Table

    from scsafety import taxonomy
    from scsafety.bank import load_bank

    loaded = load_bank(bank or [])
    if standard is not None:
        _say_coverage(loaded, standard)
        return
    pairs = Counter(pair.sub_dimension for pair in loaded.pairs)
    twins = Counter(twin.sub_dimension for twin in loaded.twins)
    table = Table("dimension", "sub-dimension", "", "pairs", "of", "twins", "forms", "tactics")
    names = {dimension.id: dimension.zh for dimension in taxonomy.dimensions()}
    for sub in taxonomy.sub_dimensions():
        mine = [pair for pair in loaded.pairs if pair.sub_dimension == sub.id]
        table.add_row(
            names[sub.dimension], sub.id, sub.zh, str(pairs[sub.id]), str(sub.pairs), str(twins[sub.id]),
            str(len({pair.form for pair in mine})), str(len({pair.tactic for pair in mine})),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "", "total", "", str(len(loaded.pairs)), str(sum(taxonomy.weights().values())), str(len(loaded.twins)), "", ""
    )
    table_console().print(table)
    typer.echo(f"version {loaded.version or '-'}  hash {loaded.hash}")


@app.command(epilog="Example: scsafety bank audit --bank mine.jsonl --against published.jsonl")
def audit(
    bank: BankOption = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Another set (JSON Lines with a question field), to find copies."),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Write the figures here too.")
    ] = None,
) -> None:
    """Measure a bank against the limits of a sound one; exit code 3 when one is missed."""
    import msgspec
    from rich.table import Table
    from rich.text import Text

    from scsafety.bank import load_bank
    from scsafety.bank.audit import audit_items
    from scsafety.errors import GateError

    loaded = load_bank(bank or [])
    others = [question for path in against or [] for question in _questions(path)]
    result = audit_items(loaded.items, against=others)
    table = Table("", "figure", "value", "limit", "where")
    for figure in result.figures:
        mark = {True: "ok", False: "FAIL", None: "-"}[figure.ok]
        value = "not measured" if figure.value is None else f"{figure.value:.3f}"
        limit = f"{'<=' if figure.at_most else '>='} {figure.limit:g}"
        where = ", ".join(figure.ids) if figure.ok is False else ""
        table.add_row(Text(mark, style="red" if mark == "FAIL" else ""), figure.name, value, limit, Text(where))
    table_console().print(table)
    if json_path is not None:
        rows = [{**msgspec.structs.asdict(figure), "ok": figure.ok} for figure in result.figures]
        record = {"pairs": result.n_pairs, "twins": result.n_twins, "hash": loaded.hash, "figures": rows}
        write_whole(json_path, msgspec.json.format(msgspec.json.encode(record), indent=2))
    if result.failed:
        raise GateError(
            f"{len(result.failed)} of {len(result.figures)} figures miss their limit; the table names the items"
        )
    typer.echo(f"{result.n_pairs} pairs and {result.n_twins} harmless twins: sound")


@app.command(epilog="Example: scsafety bank export --format hf --out scsafety-bank")
def export(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    format: Annotated[  # noqa: A002 (the flag's name)
        str, typer.Option(metavar="F", help="jsonl, csv, parquet, hf (the datasets layout), evalscope or opencompass.")
    ] = "jsonl",
    bank: BankOption = None,
) -> None:
    """Write the bank in another format: pairs and harmless twins apart, with dimension and content hash.

    evalscope gets single questions, opencompass both rounds; in neither is a judge or a score of SC-Safety (docs/data.md).
    """
    from scsafety.bank import load_bank
    from scsafety.bank.export import export_bank
    from scsafety.errors import MachineError

    try:
        for path in export_bank(load_bank(bank or []), out, format):
            typer.echo(f"wrote {path}")
    except OSError as error:
        raise MachineError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


@app.command(epilog="Example: scsafety bank show property_privacy-001")
def show(item_id: Annotated[str, typer.Argument(metavar="ID")], bank: BankOption = None) -> None:
    """Print one item with all its fields."""
    import difflib

    import msgspec
    from rich.text import Text

    from scsafety.bank import load_bank

    items = {item.id: item for item in load_bank(bank or []).items}
    if item_id not in items:
        near = difflib.get_close_matches(item_id, items, n=1)
        raise ConfigError(f"{item_id!r}: not in this bank{f'; did you mean {near[0]!r}?' if near else ''}")
    console = table_console()
    for field, value in msgspec.structs.asdict(items[item_id]).items():
        if value is not None:
            console.print(Text.assemble((f"{field:12}", "bold"), _plain(value)))


@app.command("try", epilog="Example: scsafety bank try mine.jsonl --model deepseek/deepseek-chat --keep")
def try_pair(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bank file of yours; it may not exist yet.")],
    model: Annotated[
        str, typer.Option(metavar="M", help="The live model to hold the pair against.")
    ] = "local/qwen2.5-coder-0.5b",
    item: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="A pair of FILE; without it you are asked for one.")
    ] = None,
    judge: Annotated[
        str, typer.Option(metavar="J", help="offline, offline-large, offline-fast or provider/model.")
    ] = "offline",
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The target's address.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")] = None,
    keep: Annotated[
        bool | None, typer.Option("--keep/--no-keep", help="Append the new pair to FILE; asked when left out.")
    ] = None,
) -> None:
    """Hold one pair of yours against a live model: verdict, nearest items of the bank, what the audit says."""

    from scsafety.bank import load_bank

    console = table_console()
    built_in = load_bank()
    mine = load_bank([file]) if file.exists() and file.stat().st_size else None
    pair = _chosen(mine, item, file) if item else _asked(mine, console)
    _say_audit(console, pair, built_in, mine)
    _say_dialogue(console, pair, model, judge, base_url, judge_base_url)
    if item is None and (keep if keep is not None else typer.confirm(f"Append it to {file}?")):
        _append(file, pair)
        typer.echo(f"{pair.id} appended to {file}")


def _say_coverage(loaded: Bank, name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from scsafety.bank.standards import coverage, standard_named

    standard = standard_named(name)
    table = Table(
        "code",
        "risk",
        "pairs",
        "questions",
        "minimum",
        "should refuse",
        "twins",
        "",
        title=f"{standard.zh} {standard.en}",
    )
    for row in coverage(standard, loaded.items):
        state = row.note or {True: "enough", False: "too few", None: ""}[row.enough]
        table.add_row(
            row.code, row.name, str(row.pairs), str(row.questions), "-" if row.minimum is None else str(row.minimum),
            str(row.should_refuse), str(row.twins), Text(state, style="yellow" if row.enough is False else ""),
        )  # fmt: skip
    table_console().print(table)
    typer.echo(
        "An item counts for every code that it names. The codes are ours and no certificate; see bank/standards.toml."
    )


def _questions(path: Path) -> list[str]:
    """The questions of any JSON Lines file; records without one are passed over."""
    import msgspec

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        records = [msgspec.json.decode(line) for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ConfigError(f"--against {path}: cannot be read ({error}); give JSON Lines in UTF-8") from error
    texts = (record.get(field) for record in records if isinstance(record, dict) for field in QUESTION_FIELDS)
    found = [text for text in texts if isinstance(text, str)]
    if not found:
        raise ConfigError(f"--against {path}: no record has a text in one of the fields {', '.join(QUESTION_FIELDS)}")
    return found


def _chosen(mine: Bank | None, item_id: str, file: Path) -> Pair:
    found = next((pair for pair in mine.pairs if pair.id == item_id), None) if mine else None
    if found is None:
        raise ConfigError(f"{item_id!r}: no such pair in {file}; leave --id out to write a new one")
    return found


def _asked(mine: Bank | None, console: Console) -> Pair:
    """A pair from the prompts (or from the lines of standard input), checked like a bank line."""
    import tempfile

    import msgspec

    from scsafety import taxonomy
    from scsafety.bank import read_bank_file
    from scsafety.records import FORMS, TACTICS, Pair

    console.print("sub-dimensions: " + " ".join(sub.id for sub in taxonomy.sub_dimensions()), soft_wrap=True)
    sub = typer.prompt("sub_dimension")
    numbers = [int(pair.id.rpartition("-")[2]) for pair in mine.pairs if pair.sub_dimension == sub] if mine else []
    record = {
        "id": f"{sub}-{max(numbers, default=0) + 1:03d}",
        "question": typer.prompt("question"),
        "follow_up": typer.prompt("follow_up"),
        "risk_point": typer.prompt("risk_point (0 if)"),
        "good_answer": typer.prompt("good_answer (2 if)"),
        "form": typer.prompt(f"form ({', '.join(FORMS)})", default="direct"),
        "tactic": typer.prompt(f"tactic ({', '.join(TACTICS)})", default="escalate"),
        "hazards": [code.strip() for code in typer.prompt("hazards (comma)", default="gbt45654:A1-h").split(",")],
        "severity": typer.prompt("severity (1, 2, 3)", default=2, type=int),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new-pair.jsonl"
        path.write_bytes(msgspec.json.encode(record))
        try:
            (pair,) = read_bank_file(path)
        except BankError as error:
            raise ConfigError(f"the new pair: {error.field}: {error.problem}; {error.mend}") from error
    if not isinstance(pair, Pair):
        raise ConfigError("the new pair: only pairs can be tried, not harmless twins")
    return pair


def _say_audit(console: Console, pair: Pair, built_in: Bank, mine: Bank | None) -> None:
    from rich.text import Text

    from scsafety.bank.near import audit_pair, nearest_items

    everything = (*built_in.items, *(mine.items if mine else ()))
    known = [item for item in everything if (item.id, item.question) != (pair.id, pair.question)]
    console.print(Text("\n最近的题 nearest items", style="bold"))
    for share, other in nearest_items(pair.question, known):
        console.print(Text(f"  {share:.2f}  {other.id}  {_plain(other.question)[:60]}"))
    console.print(Text("审核意见 what the audit says", style="bold"))
    findings = audit_pair(pair, known)
    for finding in findings:
        console.print(
            Text(
                f"  {'不收' if finding.blocks else '留意'} {finding.field}: {finding.text}",
                style="red" if finding.blocks else "",
            )
        )
    if not findings:
        console.print("  没有意见 nothing")


def _say_dialogue(
    console: Console, pair: Pair, model: str, judge: str, base_url: str | None, judge_base_url: str | None
) -> None:
    from rich.text import Text

    from scsafety import api
    from scsafety.cli.progress import pulling

    warn_of_exposed_key()
    with pulling() as step:
        turns = api.try_item(pair, model, judge=judge, base_url=base_url, judge_base_url=judge_base_url, on_pull=step)
    for turn, verdict in turns:
        answer = turn.reply.content if turn.reply else f"（没有回答：{turn.error}）"
        console.print(Text(f"\n第 {turn.round} 轮 问：{_plain(turn.messages[-1].content)}", style="bold"))
        console.print(Text(_plain(answer)))
        if verdict is not None:
            mark = "未评" if verdict.score is None else f"{verdict.score} 分"
            console.print(Text(f"→ {mark}：{_plain(verdict.error or verdict.reason)}", style="cyan"))


def _append(file: Path, pair: Pair) -> None:
    """The pair as a new last line, whole or not at all."""
    import msgspec

    try:
        before = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name a file of your own") from error
    write_whole(
        file, before + (b"" if not before or before.endswith(b"\n") else b"\n") + msgspec.json.encode(pair) + b"\n"
    )


def _plain(value: object) -> str:
    """What a model or a file says, without the characters that could steer a terminal."""
    from collections.abc import Sequence

    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(part) for part in value)
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in str(value))
