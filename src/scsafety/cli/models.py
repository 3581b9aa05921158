"""`scsafety models list|pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli.console import table_console
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="The embedded models and the providers.", no_args_is_help=True)


@app.command(epilog="Example: scsafety models prices")
def prices() -> None:
    """Show the prices that costs are reckoned with, and where to put your own."""
    import os

    from rich.table import Table

    from scsafety.targets.prices import load_prices, prices_file

    table = Table("model", "input", "output", "a million tokens, in")
    for price in load_prices():
        table.add_row(price.model, f"{price.input:g}", f"{price.output:g}", price.currency or "-")
    table_console().print(table)
    typer.echo(f"yours: {prices_file(os.environ)}")


@app.command("list", epilog="Example: scsafety models list")
def list_models() -> None:
    """The embedded models, and every provider with its address and key variable."""
    from rich.table import Table

    from scsafety.targets.models import cached, models
    from scsafety.targets.providers import providers

    embedded = Table("model", "size", "licence", "here", title="Embedded", title_justify="left")
    for model in models():
        embedded.add_row(
            f"local/{model.id}",
            f"{model.bytes / 2**20:,.0f} MiB",
            model.licence,
            str(cached(model) or "not yet: models pull"),
        )
    table = Table(
        "provider", "name", "address", "key", "set", title="Providers: --model PROVIDER/MODEL", title_justify="left"
    )
    for provider in providers():
        name = provider.id + (f" ({', '.join(provider.aliases)})" if provider.aliases else "")
        found = _key_in(provider.key_vars)
        keys = " or ".join(provider.key_vars) or "none"
        table.add_row(
            name,
            provider.name_zh,
            provider.base_url or "--base-url",
            keys,
            found or "-" if provider.key_vars else "",
        )
    console = table_console()
    console.print(embedded)
    console.print(table)


def _key_in(variables: Sequence[str]) -> str:
    """Where a key of these stands; the keyring is not asked, since it may ask the user to unlock it."""
    import os

    from scsafety.targets.keys import DotenvKeys, EnvironmentKeys, find_key

    try:
        found = find_key(variables, (EnvironmentKeys(os.environ), DotenvKeys()))
    except ConfigError:
        return "broken"
    return {"the environment": "yes"}.get(found.store, found.store) if found else ""


@app.command(epilog="Example: scsafety models pull qwen2.5-coder-0.5b")
def pull(
    model: Annotated[str, typer.Argument(help="Id of an embedded model.")] = "qwen2.5-coder-0.5b",
    source: Annotated[Path | None, typer.Option("--from", metavar="FILE", help="A file that you have already.")] = None,
) -> None:
    """Fetch an embedded model (resumable; its SHA-256 decides) and say where it lies."""
    from scsafety.cli.progress import pulling
    from scsafety.targets import models

    with pulling() as step:
        path = models.pull(models.embedded_model(model.removeprefix("local/")), source=source, on_progress=step)
    typer.echo(path)
