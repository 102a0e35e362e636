"""Commands of a hospital: `python -m sites --help`."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from sites.approval import app as approval
from sites.diagnosis import app as diagnosis
from teledx_fed.commands import HERE, AsJson, Folder, answer, program
from teledx_fed.core.reports import SilentReporter
from teledx_fed.deployment.site.settings import SiteDirectory

app = program()
audit = typer.Typer(no_args_is_help=True)
app.add_typer(approval)
app.add_typer(diagnosis)
app.add_typer(audit, name="audit", help="The log of all requests to this hospital, and of all replies that left it.")


@app.callback()
def site() -> None:
    """Run a hospital's site: train on its photographs, by plans that the hospital approved. It sends no photograph."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for all files of this hospital's site.")],
    name: Annotated[str, typer.Option(help="The name by which the coordinator admits this hospital.")],
    server: Annotated[str, typer.Option(help="HOST:PORT of the coordinator's server.")],
    ca: Annotated[Path, typer.Option(help="The file ca.crt from the coordinator.")],
    as_json: AsJson = False,
) -> None:
    """Create the hospital's folder: keys, site.yaml. The private key must never leave it."""
    from teledx_fed.deployment.common.certificates import fingerprint
    from teledx_fed.deployment.site.layout import init_site

    directory = SiteDirectory(folder)
    init_site(directory, name, server, ca)
    shown = fingerprint(directory.public_key)
    line = f"Send {directory.public_key} to the coordinator, and compare by telephone: {shown}"
    line += f"\nThen fill in {folder}/site.yaml"
    answer(as_json, line, folder=str(folder), public_key=str(directory.public_key), fingerprint=shown)


@app.command()
def check(
    folder: Folder = HERE,
    offline: Annotated[bool, typer.Option("--offline", help="Leave out the checks that need the network.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check all that joining needs: a line for each check, with what to do. Exit code 1 if a check fails."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from teledx_fed.deployment.site.checks.check import CheckState
    from teledx_fed.deployment.site.checks.run_all import checks

    colours = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.FAIL: "bold red"}
    console, failed = Console(soft_wrap=True), 0
    for line in checks(SiteDirectory(folder), offline, PhotographCount()):
        failed += line.state is CheckState.FAIL
        if as_json:
            typer.echo(json.dumps(asdict(line)))
            continue
        console.print(Text(f"{line.state:5}", colours[line.state]) + Text(f"{line.name:12} {line.found}"))
        if line.remedy:
            console.print(Text(f"{'':18}{line.remedy}", "italic"))
    sys.exit(int(failed > 0))


class PhotographCount(SilentReporter):
    """Shows the count of prepared photographs on a terminal, and clears it at the end."""

    def progress(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            typer.echo("\r\033[K" + (f"  photographs {done} of {total}" if done < total else ""), nl=False, err=True)


@app.command()
def join(
    folder: Folder = HERE,
    service: Annotated[bool, typer.Option(help="Print a systemd unit that runs this command, and exit.")] = False,
    node: Annotated[int | None, typer.Option(help="The port of connect, which another user runs.")] = None,
) -> None:
    """Take part until stopped: answer the coordinator's requests, within the limits of site.yaml."""
    directory = SiteDirectory(folder)
    if service:
        from teledx_fed.deployment.common.layout import site_unit

        typer.echo(site_unit(folder, directory.settings.name), nl=False)
        return
    from teledx_fed.deployment.site import joining

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    joining.join(directory, lambda line: typer.echo(line, err=True), node)


@app.command()
def connect(
    port: Annotated[int, typer.Argument(help="A port of this machine, for join --node.")], folder: Folder = HERE
) -> None:
    """Only keep the connection to the server, for a join that another user runs."""
    from teledx_fed.deployment.site import joining

    joining.connect(SiteDirectory(folder), port, lambda line: typer.echo(line, err=True))


@app.command()
def leave(folder: Folder = HERE) -> None:
    """Stop join. The hospital's folder is not changed."""
    from teledx_fed.deployment.site import joining

    joining.leave(SiteDirectory(folder))
    typer.echo("left")


@app.command()
def exclude(patient: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Exclude a patient from now on, and delete the prepared copies of their photographs."""
    from teledx_fed.deployment.site import lineage as history

    photographs = history.exclude(SiteDirectory(folder), patient)
    rounds = history.rounds_of(SiteDirectory(folder), patient)
    listed = ", ".join(f"{run} round {round}" for run, round in rounds)
    line = f"excluded, {photographs} photographs; used for training in: {listed or 'no round'}"
    answer(as_json, line, photographs=photographs, rounds=rounds)


@app.command()
def lineage(patient: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List the runs and rounds that trained on a patient."""
    from teledx_fed.deployment.site import lineage as history

    rounds = history.rounds_of(SiteDirectory(folder), patient)
    answer(as_json, "\n".join(f"{run} round {round}" for run, round in rounds) or "none", rounds=rounds)


@audit.command()
def show(folder: Folder = HERE) -> None:
    """Print every entry as a line of JSON."""
    from teledx_fed.deployment.common.audit import entries

    for entry in entries(SiteDirectory(folder).audit_log.path):
        typer.echo(json.dumps(entry))


@audit.command()
def verify(
    against: Annotated[Path | None, typer.Option(help="The coordinator's log, to compare with this one.")] = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Check whether the log was changed. Exit code 1 if it was."""
    from teledx_fed.deployment.common import receipts
    from teledx_fed.deployment.common.audit import verify as faults_in

    directory = SiteDirectory(folder)
    faults = faults_in(directory.audit_log)
    if against is not None:
        compared = (directory.audit_log.path, against, directory.settings.name)
        faults += receipts.unmatched(*compared) + receipts.contradicted(*compared)
    answer(as_json, "\n".join(faults) or "nothing was changed", faults=faults)
    sys.exit(int(bool(faults)))


@app.command()
def features(
    layout: str,
    root: Path,
    out: Path,
    model: Annotated[Path | None, typer.Option(help="A model.safetensors. Default: ImageNet weights.")] = None,
    image_size: Annotated[int, typer.Option(help="Side of the network's input in pixels.")] = 224,
    on_bad: Annotated[str, typer.Option(help="fail at unreadable photographs, or skip them")] = "fail",
    cache: Annotated[Path, typer.Option(help="Where prepared photographs and features are history.")] = Path(
        ".teledx_cache"
    ),
    workers: Annotated[int, typer.Option(help="How many photographs are read at a time.")] = 2,
    grading: Annotated[
        list[str] | None, typer.Option(help="WORD=GRADE. Repeat it for each word of your grading.")
    ] = None,
    file_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a file's name (layout folder).")
    ] = None,
) -> None:
    """Write embeddings and quality features of a hospital's photographs, for its own use.

    LAYOUT is folder, table, dicom, or the name of a public data set; ROOT is the folder of the data. It writes
    OUT/embeddings.npy, and OUT/photographs.csv with a row for each of its rows.
    """
    from teledx_fed.config.data import DataSettings, SourceSettings
    from teledx_fed.config.learning import ModelSettings
    from teledx_fed.config.settings import Settings
    from teledx_fed.core.checks import must
    from teledx_fed.data.hospitals import collections
    from teledx_fed.model.network import build
    from teledx_fed.reporting.progress import TerminalReporter
    from teledx_fed.training.compute import place
    from teledx_fed.training.embeddings import embeddings

    words = dict(word.rpartition("=")[::2] for word in grading or ())
    must(all(grade.isdecimal() for grade in words.values()), "--grading", "be WORD=GRADE", grading, "Write R0=0.")
    grades = {word: int(grade) for word, grade in words.items()}
    source = SourceSettings(layout, str(root), grades, file_pattern=file_pattern)
    data = DataSettings(
        sources={"site": source}, image_size=image_size, cache=str(cache), workers=workers, on_bad=on_bad
    )
    start = ModelSettings(freeze="backbone", initial="file" if model else "lite0", file=str(model) if model else None)
    settings = Settings(data=data, model=start)
    with TerminalReporter() as reporter:
        reporter.phase("photographs")
        sources, images = collections(data, reporter)
        network = place(build(settings.model, settings.seed), settings, reporter)
        reporter.phase("features")
        table = embeddings(network, images, sources["site"].examples, workers, reporter)
    table.write(out)
    typer.echo(f"{len(table.examples)} photographs: {out / 'embeddings.npy'}, {out / 'photographs.csv'}")


if __name__ == "__main__":
    app(prog_name="python -m sites")
