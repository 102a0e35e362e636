"""Commands of `python -m sites` about the stored studies: back up, restore and delete them."""

from pathlib import Path
from typing import Annotated

import typer

from teledx_fed.commands import HERE, Folder, NewFolder, program

app = program()


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new .zip.")],
    folder: Folder = HERE,
    identified: Annotated[
        Path | None, typer.Option(help="A second new .zip, for the patients behind the pseudonyms.")
    ] = None,
    recipient: Annotated[
        list[str] | None, typer.Option(help="age1…, printed by backup-key: encrypt for the owner of that key.")
    ] = None,
) -> None:
    """Back up database and photographs. Store `secrets/` and the patients' identities in another place."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    missing = DiagnosisDirectory(folder).store().backup(file, recipient or ())
    if identified is not None:
        DiagnosisDirectory(folder).identified().backup(identified, recipient or ())
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
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.")],
    folder: NewFolder = HERE,
    identified: Annotated[Path | None, typer.Option(help="The file with the identities that backup wrote.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key file from backup-key, for an encrypted backup.")] = None,
) -> None:
    """Restore a backup into an empty folder or database; all users must log in again."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(folder).restore(file, key)
    if identified is not None:
        DiagnosisDirectory(folder).restore_identified(identified, key)
    typer.echo(f"restored into {folder}")


@app.command()
def forget(
    days: Annotated[float, typer.Argument(help="Studies received longer ago than this are deleted.")],
    folder: Folder = HERE,
) -> None:
    """Delete old studies with their photographs, maps, suggestions and readings, and expired uploads."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    typer.echo(f"{DiagnosisDirectory(folder).forget(days)} studies deleted")
