"""What the commands of `python -m sites` share: options, and how they answer."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[Path, typer.Option("--dir", help="The hospital's folder, as init laid it out.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts: JSON on standard output.")]
HERE = Path()


@contextmanager
def told_plainly() -> Iterator[None]:
    """What a person can mend is one line on standard error, and exit code 1."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        sys.exit(f"error: {error}")


def tell(as_json: bool, line: str, **facts: Any) -> None:
    typer.echo(json.dumps(facts) if as_json else line)
