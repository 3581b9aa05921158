"""The command line: parse, call, print. Nothing imports this package."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scsafety.cli import annotate, bank, compare, judges, models, outputs, run, runs, suite, verify
from scsafety.cli.doctor import doctor
from scsafety.errors import ScsafetyError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    help="SC-Safety, open and runnable: a multi-round adversarial safety benchmark for Chinese LLMs.",
    epilog="Example: scsafety run --model local/qwen2.5-coder-0.5b --quick",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with local variables could show a key
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
outputs.register(app)
judges.register(app)
annotate.register(app)
compare.register(app)
verify.register(app)
app.command(epilog="Example: scsafety doctor --model deepseek/deepseek-chat")(doctor)
app.add_typer(bank.app, name="bank")
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(suite.app, name="suite")

INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"scsafety {version('scsafety')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code of the contract; every known error is one line."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except ScsafetyError as error:
        _say(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except typer.Abort:
        _say("stopped at a question, nothing was changed; answer it, or give the answers as options")
        sys.exit(INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # the reader of a pipe went away (`| head`): nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        show = getattr(error, "show", None)  # a usage error of typer knows how to show itself
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    if code == INTERRUPTED:  # typer turns most interrupts into this code itself
        _say(
            "interrupted; everything that was answered is kept: `scsafety resume` goes on with a run, else the same command does"
        )
    sys.exit(code or 0)


def _say(line: str) -> None:
    """One printable line: the text may quote what an endpoint said."""
    typer.echo("scsafety: " + "".join(c if c.isprintable() else " " for c in line), err=True)
