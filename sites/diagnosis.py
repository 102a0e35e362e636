"""What a hospital diagnoses with: commands of `python -m sites`, apart from those that take part in a federation."""

from pathlib import Path
from typing import Annotated

import typer

from teledx_fed.commands import HERE, Home, program

app = program()
user = typer.Typer(no_args_is_help=True)
device = typer.Typer(no_args_is_help=True)
app.add_typer(user, name="user", help="Who may log in to the diagnosis page.")
app.add_typer(device, name="device", help="What may submit studies, by token.")

BundleFolder = Annotated[Path | None, typer.Option("--bundle", help="A model bundle; the hospital's champion without.")]


@app.command()
def serve(home: Home = HERE, bundle: BundleFolder = None) -> None:
    """The diagnosis page and the interface for devices, until stopped; diagnosis.yaml says where and how."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.app import server

    here = DiagnosisDirectory(home)
    running = server(here.clinic(bundle), here.settings)
    scheme = "https" if here.settings.certificate else "http"
    typer.echo(f"{scheme}://{here.settings.host}:{here.settings.port}/", err=True)
    with here.forgetting():
        running.run()


@app.command()
def diagnose(
    paths: Annotated[list[Path], typer.Argument(help="Photographs, folders, or a table (.csv).")],
    out: Annotated[Path, typer.Option(help="A new folder: results.csv, and a JSON, FHIR and PDF file a study.")],
    home: Home = HERE,
    bundle: BundleFolder = None,
    eye: Annotated[str, typer.Option(help="left, right or unknown, where neither file nor name says.")] = "unknown",
) -> None:
    """Suggest a grade for each study, from photographs, folders or a table (.csv).

    In a folder, each sub-folder is a patient; each file directly in the folder is a study of its own.

    A photograph that cannot be read has a row with the reason in results.csv, and a line on standard error. The exit
    code is then 1.
    """
    from teledx_fed.core.checks import one_of
    from teledx_fed.core.clinical import DEMONSTRATION
    from teledx_fed.core.examples import Eye
    from teledx_fed.diagnosis.batch import run
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.study_files import study_uploads
    from teledx_fed.reporting.progress import TerminalReporter

    one_of("--eye", eye, Eye)
    here = DiagnosisDirectory(home)
    opened = here.bundle(bundle, or_demonstration=True)
    mark = f": {DEMONSTRATION}" if opened.manifest.demonstration else ""
    typer.echo(f"diagnosed with {opened.folder}{mark}", err=True)
    with TerminalReporter() as reporter:
        found = study_uploads(paths, Eye(eye), reporter)
        reporter.phase("studies")
        settings = here.settings
        failed = run(
            found,
            opened,
            settings.referral,
            out,
            reporter,
            here.study_key,
            settings.most_pixels,
        )
    typer.echo(f"{len(found)} studies, {failed} photographs that could not be read: {out / 'results.csv'}")
    if failed:
        raise typer.Exit(1)


@user.command("add")
def add_user(
    name: str,
    home: Home = HERE,
    admin: Annotated[bool, typer.Option(help="May do all that a reader may, and manage.")] = False,
    oidc: Annotated[bool, typer.Option(help="Logs in with the hospital's provider, by that name, not here.")] = False,
    password: Annotated[str, typer.Option(help="Asked for where it is not given.", show_default=False)] = "",
) -> None:
    """A reader, or an administrator."""
    from teledx_fed.core.checks import must
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.passwords import hashed_password
    from teledx_fed.store.values import Role

    must(not (oidc and password), "--password", "be left out with --oidc", "one", "Choose one of both.")
    role = Role.ADMIN if admin else Role.READER
    if not (oidc or password):
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    hashed = None if oidc else hashed_password(password)
    DiagnosisDirectory(home).store().access.add_user(name, role, hashed)
    typer.echo(f"{name} may log in as {role}")


@user.command("disable")
def disable_user(name: str, home: Home = HERE) -> None:
    """Logged out at once; what they read stays."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(home).store().access.set_disabled(name, True)
    typer.echo(f"{name} may not log in any more")


@device.command("add")
def add_device(name: str, home: Home = HERE) -> None:
    """Print its token, once: it may submit studies, and ask for the state of its own."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    typer.echo(DiagnosisDirectory(home).store().access.add_device(name))


@device.command("revoke")
def revoke_device(name: str, home: Home = HERE) -> None:
    """Its token opens nothing any more."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(home).store().access.revoke_device(name)
    typer.echo(f"{name} is revoked")


@app.command()
def adopt(
    model: Annotated[Path, typer.Argument(help="A run's model.safetensors, with its config.yaml and pooled.json.")],
    home: Home = HERE,
) -> None:
    """Calibrate a federation's model on this hospital's validation set, print its thresholds, use it from now on."""
    from teledx_fed.deployment.site.adoption import adopt as take
    from teledx_fed.deployment.site.settings import SiteDirectory
    from teledx_fed.reporting.progress import TerminalReporter

    take(SiteDirectory(home), model, TerminalReporter())
    typer.echo(f"diagnosed with from now on: {SiteDirectory(home).champion}")


@app.command()
def demo(
    run: Annotated[Path, typer.Argument(help="The folder of a run with experiment=demo.")], home: Home = HERE
) -> None:
    """Lay out a hospital to look around in: drawn patients, and nothing that could be signed."""
    from teledx_fed.diagnosis.demonstration import lay_out
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.passwords import DEMONSTRATION_PASSWORD, DEMONSTRATION_USER

    lay_out(DiagnosisDirectory(home), run)
    typer.echo(f"log in as {DEMONSTRATION_USER}, password {DEMONSTRATION_PASSWORD}")


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="Where the camera writes photographs, or a folder for each patient.")],
    home: Home = HERE,
    bundle: BundleFolder = None,
    every: Annotated[float, typer.Option(help="Seconds from one look to the next.")] = 5,
) -> None:
    """Take in what a camera writes, until stopped: moved to `done`, or to `refused` with the reason."""
    from time import sleep

    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.watching import Watch

    watching = Watch(DiagnosisDirectory(home).clinic(bundle), folder)
    while True:
        if taken := watching.look():
            typer.echo(f"{taken} studies taken in", err=True)
        sleep(every)


@app.command()
def receive(
    callers: Annotated[list[str], typer.Argument(help="AE titles of cameras and archives that may send.")],
    home: Home = HERE,
    bundle: BundleFolder = None,
    title: Annotated[str, typer.Option(help="Our own AE title.")] = "TELEDX",
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 11112,
) -> None:
    """Receive photographs over DICOM (C-STORE), until stopped."""
    from threading import Event

    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.gathering import Gathering
    from teledx_fed.diagnosis.receiver import Receiver

    here = DiagnosisDirectory(home)
    gathering = Gathering(here.clinic(bundle), here.incoming, here.settings.dicom.quiet_seconds)
    with Receiver(gathering, title, callers).listening(host, port) as bound:
        typer.echo(f"{title} at {host}:{bound}, for {', '.join(callers)}", err=True)
        Event().wait()


@app.command()
def send(
    study: Annotated[str, typer.Argument(help="The study's id: the last part of its page's address.")],
    home: Home = HERE,
    bundle: BundleFolder = None,
) -> None:
    """Send a study's signed report to the archive that diagnosis.yaml names under dicom.archive."""
    from teledx_fed.core.checks import must
    from teledx_fed.diagnosis import sending
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.study_reports import latest

    here = DiagnosisDirectory(home)
    archive = here.settings.dicom.archive
    must(archive is not None, "dicom.archive", "be set to send reports", "none", "Name it in diagnosis.yaml.")
    assert archive is not None
    sent = sending.send(latest(here.clinic(bundle), study), archive)
    typer.echo("\n".join([f"{sent.archive} stored the report as {sent.instance}", *sent.remarks]))


@app.command()
def link(
    label: Annotated[str, typer.Argument(help="To whom it is given, for your own records.")],
    home: Home = HERE,
    hours: Annotated[float, typer.Option(help="Until its time is over.")] = 72,
) -> None:
    """Print the path of a page that takes one study without a log-in, once."""
    from datetime import timedelta

    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    token, _ = DiagnosisDirectory(home).store().access.add_link(label, timedelta(hours=hours))
    typer.echo(f"/link/{token}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new .zip.")],
    home: Home = HERE,
    identified: Annotated[Path | None, typer.Option(help="Another, for who is behind the pseudonyms.")] = None,
    recipient: Annotated[
        list[str] | None, typer.Option(help="age1…, printed by backup-key: encrypt for the owner of that key.")
    ] = None,
) -> None:
    """Database and photographs as one archive. Keep apart from it: `secrets/`, and who is behind the pseudonyms."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    missing = DiagnosisDirectory(home).store().backup(file, recipient or ())
    if identified is not None:
        DiagnosisDirectory(home).identified().backup(identified, recipient or ())
    typer.echo(f"{file}" + (f"; missing photographs: {', '.join(missing)}" if missing else ""))


@app.command("backup-key")
def backup_key(
    file: Annotated[Path, typer.Argument(help="A new file. Keep it apart from backups.")],
) -> None:
    """Make a key that decrypts backups, and print its recipient (age1…), for which to encrypt them."""
    from teledx_fed.store.encryption import new_key

    typer.echo(new_key(file))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What backup wrote.")],
    home: Home = HERE,
    identified: Annotated[Path | None, typer.Option(help="What it wrote of who is behind the pseudonyms.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key file from backup-key, for an encrypted backup.")] = None,
) -> None:
    """Into a folder, or a database, that is empty; who was logged in is logged out."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(home).restore(file, key)
    if identified is not None:
        DiagnosisDirectory(home).restore_identified(identified, key)
    typer.echo(f"restored into {home}")


@app.command()
def forget(
    days: Annotated[float, typer.Argument(help="Studies received longer ago than this are deleted.")],
    home: Home = HERE,
) -> None:
    """Delete old studies: photographs, maps, suggestions, readings; and what uploads left."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    typer.echo(f"{DiagnosisDirectory(home).forget(days)} studies deleted")
