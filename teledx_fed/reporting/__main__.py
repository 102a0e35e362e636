"""Commands on finished runs: `python -m teledx_fed.reporting compare RUN… --out DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from teledx_fed.commands import program

app = program()


@app.callback()
def reporting() -> None:
    """Commands on finished runs."""


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Finished runs; the first is the reference.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder of the table and the plots.")],
) -> None:
    """One table (Markdown, CSV, LaTeX), learning curves over rounds and bytes, and ranks with critical differences."""
    from teledx_fed.core.files import LOCK, exclusive
    from teledx_fed.reporting.runs import Run, same_data
    from teledx_fed.reporting.tables_of_runs import write_comparison

    finished = [Run(run) for run in runs]
    same_data(finished)
    with exclusive(out / LOCK):
        typer.echo(write_comparison(finished, out))


@app.command()
def schema() -> None:
    """Print the JSON schema of report.json: `schema > docs/report.schema.json` publishes it."""
    from teledx_fed.reporting.schema import json_schema

    typer.echo(json_schema(), nl=False)


if __name__ == "__main__":
    app()
