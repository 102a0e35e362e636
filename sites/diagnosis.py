"""Commands of `python -m sites` for diagnosis: receive photographs, serve the page, report."""

from pathlib import Path
from typing import Annotated

import typer

from sites import accounts, storage
from teledx_fed.commands import HERE, Folder, NewFolder, program

app = program()
app.add_typer(accounts.app)
app.add_typer(storage.app)

BundleFolder = Annotated[Path | None, typer.Option("--bundle", help="A model bundle; default: the champion.")]


@app.command()
def serve(folder: Folder = HERE, bundle: BundleFolder = None) -> None:
    """Serve the diagnosis page and the interface for devices, until stopped; diagnosis.yaml has the settings."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.app import server

    directory = DiagnosisDirectory(folder)
    web_server = server(directory.clinic(bundle), directory.settings)
    scheme = "https" if directory.settings.certificate else "http"
    typer.echo(f"{scheme}://{directory.settings.host}:{directory.settings.port}/", err=True)
    with directory.forgetting():
        web_server.run()


@app.command()
def diagnose(
    paths: Annotated[list[Path], typer.Argument(help="Photographs, folders, or a table (.csv).")],
    out: Annotated[Path, typer.Option(help="A new folder: results.csv, and a JSON, FHIR and PDF file a study.")],
    folder: Folder = HERE,
    bundle: BundleFolder = None,
    eye: Annotated[
        str, typer.Option(help="left, right or unknown: the eye of files that do not state one.")
    ] = "unknown",
) -> None:
    """Suggest a grade for each study, from photographs, folders or a table (.csv).

    In a folder, each sub-folder is a patient; each file directly in the folder is a study of its own.

    If a photograph cannot be read, its row in results.csv and a line on standard error have the reason, and the exit
    code is 1.
    """
    from teledx_fed.core.checks import one_of
    from teledx_fed.core.clinical import DEMONSTRATION
    from teledx_fed.core.examples import Eye
    from teledx_fed.diagnosis.batch import run
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.study_files import study_uploads
    from teledx_fed.reporting.progress import TerminalReporter

    one_of("--eye", eye, Eye)
    directory = DiagnosisDirectory(folder)
    bundle_used = directory.bundle(bundle, or_demonstration=True)
    mark = f": {DEMONSTRATION}" if bundle_used.manifest.demonstration else ""
    typer.echo(f"diagnosed with {bundle_used.folder}{mark}", err=True)
    with TerminalReporter() as reporter:
        studies = study_uploads(paths, Eye(eye), reporter)
        reporter.phase("studies")
        settings = directory.settings
        failed = run(
            studies,
            bundle_used,
            settings.referral,
            out,
            reporter,
            directory.study_key,
            settings.most_pixels,
        )
    typer.echo(f"{len(studies)} studies, {failed} photographs that could not be read: {out / 'results.csv'}")
    if failed:
        raise typer.Exit(1)


@app.command()
def adopt(
    model: Annotated[Path, typer.Argument(help="A run's model.safetensors, with its config.yaml and pooled.json.")],
    folder: Folder = HERE,
) -> None:
    """Calibrate a federation's model on this hospital's validation set, print its thresholds, and use it."""
    from teledx_fed.deployment.site.adoption import adopt as take
    from teledx_fed.deployment.site.settings import SiteDirectory
    from teledx_fed.reporting.progress import TerminalReporter

    take(SiteDirectory(folder), model, TerminalReporter())
    typer.echo(f"diagnosed with from now on: {SiteDirectory(folder).champion}")


@app.command()
def demo(
    run: Annotated[Path, typer.Argument(help="The folder of a run with experiment=demo.")], folder: NewFolder = HERE
) -> None:
    """Create a demonstration hospital with synthetic patients; its reports cannot be signed."""
    from teledx_fed.diagnosis.demonstration import create_demonstration
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.passwords import DEMONSTRATION_PASSWORD, DEMONSTRATION_USER

    create_demonstration(DiagnosisDirectory(folder), run)
    typer.echo(f"log in as {DEMONSTRATION_USER}, password {DEMONSTRATION_PASSWORD}")


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The camera writes photographs, or patients' folders, here.")],
    directory: Folder = HERE,
    bundle: BundleFolder = None,
    every: Annotated[float, typer.Option(help="Seconds between two searches.")] = 5,
) -> None:
    """Receive photographs that a camera writes to a folder, until stopped.

    Files move to `done`, or to `refused` with the reason.
    """
    from time import sleep

    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.watching import Watch

    watching = Watch(DiagnosisDirectory(directory).clinic(bundle), folder)
    while True:
        if count := watching.look():
            typer.echo(f"{count} studies received", err=True)
        sleep(every)


@app.command()
def receive(
    callers: Annotated[list[str], typer.Argument(help="AE titles of cameras and archives that may send.")],
    folder: Folder = HERE,
    bundle: BundleFolder = None,
    title: Annotated[str, typer.Option(help="The AE title of this receiver.")] = "TELEDX",
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 11112,
) -> None:
    """Receive photographs over DICOM (C-STORE), until stopped."""
    from threading import Event

    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.gathering import Gathering
    from teledx_fed.diagnosis.receiver import Receiver

    directory = DiagnosisDirectory(folder)
    gathering = Gathering(directory.clinic(bundle), directory.incoming, directory.settings.dicom.quiet_seconds)
    with Receiver(gathering, title, callers).listening(host, port) as bound:
        typer.echo(f"{title} at {host}:{bound}, for {', '.join(callers)}", err=True)
        Event().wait()


@app.command()
def send(
    study: Annotated[str, typer.Argument(help="The study's id: the last part of its page's address.")],
    folder: Folder = HERE,
    bundle: BundleFolder = None,
) -> None:
    """Send a study's signed report to the archive that diagnosis.yaml names under dicom.archive."""
    from teledx_fed.core.checks import must
    from teledx_fed.diagnosis import sending
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.study_reports import latest

    directory = DiagnosisDirectory(folder)
    archive = directory.settings.dicom.archive
    must(archive is not None, "dicom.archive", "be set to send reports", "none", "Name it in diagnosis.yaml.")
    assert archive is not None
    sent_report = sending.send(latest(directory.clinic(bundle), study), archive)
    typer.echo("\n".join([f"{sent_report.archive} stored the report as {sent_report.instance}", *sent_report.remarks]))
