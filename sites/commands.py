"""What the commands of `python -m sites` share: options, and how they answer."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[Path, typer.Option("--dir", help="The hospital's folder, as init laid it out.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts: JSON on standard output.")]
HERE = Path()


def tell(as_json: bool, line: str, **facts: Any) -> None:
    typer.echo(json.dumps(facts) if as_json else line)
