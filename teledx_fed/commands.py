"""Options, output and error reports that all command-line programs share."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from click import Abort, ClickException, Context
from click.exceptions import Exit
from typer.core import TyperGroup

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.failures import line_for_person


def _existing(context: typer.Context, folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigurationError(f"--dir must be a folder that exists, got {folder}. Name the folder that init made.")
    return _log_in(context, folder)


def _log_in(context: typer.Context, folder: Path) -> Path:
    """Log unexpected errors in the folder that the command works in."""
    context.find_root().obj = folder
    return folder


HERE = Path()
Folder = Annotated[Path, typer.Option("--dir", help="The folder that init made.", callback=_existing)]
NewFolder = Annotated[Path, typer.Option("--dir", help="The folder to make, or to fill.", callback=_log_in)]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts: JSON on standard output.")]


def answer(as_json: bool, line: str, **facts: Any) -> None:
    """Print the answer of a command: one line for a person, or `facts` as JSON for a script."""
    typer.echo(json.dumps(facts) if as_json else line)


class Commands(TyperGroup):
    """Commands that report each error as one line on standard error, with exit code 1."""

    def invoke(self, ctx: Context) -> Any:
        try:
            return super().invoke(ctx)
        except (Abort, ClickException, Exit):
            raise
        except Exception as error:  # noqa: BLE001 - people read a reference, the log has the traceback
            sys.exit(f"error: {line_for_person(error, ctx.find_root().obj or HERE)}")


def program() -> typer.Typer:
    """Make a command-line program whose errors are one line."""
    return typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
