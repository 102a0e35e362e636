"""What a hospital does: `python -m sites --help`."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from sites.approval import app as approval
from sites.diagnosis import app as diagnosis
from teledx_fed.commands import HERE, AsJson, Home, answer, program
from teledx_fed.core.reports import SilentReporter

app = program()
audit = typer.Typer(no_args_is_help=True)
app.add_typer(approval)
app.add_typer(diagnosis)
app.add_typer(audit, name="audit", help="The log of all that was asked of this hospital, and all that left it.")


@app.callback()
def site() -> None:
    """Run a hospital's site: train on its photographs, by plans that the hospital approved. It sends no photograph."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for all that the site client keeps.")],
    name: Annotated[str, typer.Option(help="By which the coordinator admits this hospital.")],
    server: Annotated[str, typer.Option(help="HOST:PORT of the coordinator's server.")],
    ca: Annotated[Path, typer.Option(help="ca.crt, as the coordinator gave it.")],
    as_json: AsJson = False,
) -> None:
    """Lay out the hospital's folder: keys, site.yaml. The private key never leaves it."""
    from teledx_fed.deployment.common.certificates import fingerprint
    from teledx_fed.deployment.site.layout import init_site
    from teledx_fed.deployment.site.settings import SiteDirectory

    home = SiteDirectory(folder)
    init_site(home, name, server, ca)
    shown = fingerprint(home.public_key)
    line = f"Send {home.public_key} to the coordinator, and compare by telephone: {shown}"
    then = f"Then fill in {folder}/site.yaml"
    answer(as_json, f"{line}\n{then}", folder=str(folder), public_key=str(home.public_key), fingerprint=shown)


@app.command()
def check(
    home: Home = HERE,
    offline: Annotated[bool, typer.Option("--offline", help="Leave out what needs the network.")] = False,
    as_json: AsJson = False,
) -> None:
    """What must hold before joining, a line each with what to do; exit code 1 where anything fails."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from teledx_fed.deployment.site.checks.check import State
    from teledx_fed.deployment.site.checks.run_all import checks
    from teledx_fed.deployment.site.settings import SiteDirectory

    colours = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}
    console, failed = Console(soft_wrap=True), 0
    for line in checks(SiteDirectory(home), offline, PhotographCount()):
        failed += line.state is State.FAIL
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
    home: Home = HERE,
    service: Annotated[bool, typer.Option(help="Print a systemd unit that does this, and end.")] = False,
    node: Annotated[int | None, typer.Option(help="The port that connect serves, as another user.")] = None,
) -> None:
    """Take part until stopped: answer what the coordinator asks, by the terms of site.yaml."""
    if service:
        _print_unit(home)
        return
    from teledx_fed.deployment.site.joining import join as take_part
    from teledx_fed.deployment.site.settings import SiteDirectory

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    take_part(SiteDirectory(home), lambda line: typer.echo(line, err=True), node)


@app.command()
def connect(
    port: Annotated[int, typer.Argument(help="On this machine, where join --node finds it.")], home: Home = HERE
) -> None:
    """Keep the connection to the server and nothing else, for a join that another user runs."""
    from teledx_fed.deployment.site.joining import connect as keep_up
    from teledx_fed.deployment.site.settings import SiteDirectory

    keep_up(SiteDirectory(home), port, lambda line: typer.echo(line, err=True))


def _print_unit(folder: Path) -> None:
    from teledx_fed.deployment.common.service import site_unit
    from teledx_fed.deployment.site.settings import SiteDirectory

    typer.echo(site_unit(folder, SiteDirectory(folder).settings.name), nl=False)


@app.command()
def leave(home: Home = HERE) -> None:
    """End join; what was learned here stays here."""
    from teledx_fed.deployment.site.joining import leave as end
    from teledx_fed.deployment.site.settings import SiteDirectory

    end(SiteDirectory(home))
    typer.echo("left")


@app.command()
def exclude(patient: str, home: Home = HERE, as_json: AsJson = False) -> None:
    """Leave a patient out from now on, and remove what was prepared of their photographs."""
    from teledx_fed.deployment.site import lineage as kept
    from teledx_fed.deployment.site.settings import SiteDirectory

    photographs = kept.exclude(SiteDirectory(home), patient)
    rounds = kept.rounds_of(SiteDirectory(home), patient)
    used = ", ".join(f"{run} round {round}" for run, round in rounds)
    line = f"left out, {photographs} photographs; trained on in: {used or 'no round'}"
    answer(as_json, line, photographs=photographs, rounds=rounds)


@app.command()
def lineage(patient: str, home: Home = HERE, as_json: AsJson = False) -> None:
    """The runs and rounds that a patient was trained on."""
    from teledx_fed.deployment.site import lineage as kept
    from teledx_fed.deployment.site.settings import SiteDirectory

    rounds = kept.rounds_of(SiteDirectory(home), patient)
    answer(as_json, "\n".join(f"{run} round {round}" for run, round in rounds) or "none", rounds=rounds)


@audit.command()
def show(home: Home = HERE) -> None:
    """Every entry, a JSON line each."""
    from teledx_fed.deployment.common.audit import entries
    from teledx_fed.deployment.site.settings import SiteDirectory

    for entry in entries(SiteDirectory(home).audit):
        typer.echo(json.dumps(entry))


@audit.command()
def verify(
    against: Annotated[Path | None, typer.Option(help="The coordinator's log, to compare with.")] = None,
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Whether anything in the log was changed; exit code 1 where it was."""
    from teledx_fed.deployment.common import receipts
    from teledx_fed.deployment.common.audit import verify as faults_in
    from teledx_fed.deployment.site.settings import SiteDirectory

    here = SiteDirectory(home)
    faults = faults_in(here.audit, here.audit_key.with_suffix(".pub"))
    if against is not None:
        compared = (here.audit, against, here.settings.name)
        faults += receipts.unmatched(*compared) + receipts.contradicted(*compared)
    answer(as_json, "\n".join(faults) or "nothing was changed", faults=faults)
    sys.exit(int(bool(faults)))


@app.command()
def features(
    layout: str,
    root: Path,
    out: Path,
    model: Annotated[Path | None, typer.Option(help="A model.safetensors; ImageNet's weights without.")] = None,
    image_size: Annotated[int, typer.Option(help="Pixels that the network sees, a side.")] = 224,
    on_bad: Annotated[str, typer.Option(help="fail at photographs that cannot be read, or skip them")] = "fail",
    cache: Annotated[Path, typer.Option(help="Where prepared photographs and features are kept.")] = Path(
        ".teledx_cache"
    ),
    workers: Annotated[int, typer.Option(help="Photographs that are read at a time.")] = 2,
    grading: Annotated[list[str] | None, typer.Option(help="WORD=GRADE, for each word of your grading.")] = None,
    file_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a file's name (layout folder).")
    ] = None,
) -> None:
    """Write embeddings and quality features of a hospital's photographs, for its own use.

    LAYOUT is folder, table, dicom, or the name of a public data set; ROOT is the folder of the data. OUT will hold
    embeddings.npy, and photographs.csv with a row for each of its rows.
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
    own = {word: int(grade) for word, grade in words.items()}
    source = SourceSettings(layout, str(root), own, file_pattern=file_pattern)
    data = DataSettings(
        sources={"site": source}, image_size=image_size, cache=str(cache), workers=workers, on_bad=on_bad
    )
    begun = ModelSettings(freeze="backbone", initial="file" if model else "lite0", file=str(model) if model else None)
    settings = Settings(data=data, model=begun)
    with TerminalReporter() as reporter:
        reporter.phase("photographs")
        found, images = collections(data, reporter)
        network = place(build(settings.model, settings.seed), settings, reporter)
        reporter.phase("features")
        table = embeddings(network, images, found["site"].examples, workers, reporter)
    table.write(out)
    typer.echo(f"{len(table.examples)} photographs: {out / 'embeddings.npy'}, {out / 'photographs.csv'}")


if __name__ == "__main__":
    app(prog_name="python -m sites")
