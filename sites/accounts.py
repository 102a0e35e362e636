"""Commands of `python -m sites` about access to the diagnosis page: users, devices and links."""

from typing import Annotated

import typer

from teledx_fed.commands import HERE, Folder, program

app = program()
user = typer.Typer(no_args_is_help=True)
device = typer.Typer(no_args_is_help=True)
app.add_typer(user, name="user", help="Users who may log in to the diagnosis page.")
app.add_typer(device, name="device", help="Devices that may submit studies with a token.")


@user.command("add")
def add_user(
    name: str,
    folder: Folder = HERE,
    admin: Annotated[bool, typer.Option(help="An administrator: reads, and manages users, devices and links.")] = False,
    oidc: Annotated[bool, typer.Option(help="The user logs in with the hospital's provider, under this name.")] = False,
    password: Annotated[str, typer.Option(help="The command asks for it if it is missing.", show_default=False)] = "",
) -> None:
    """Add a reader, or an administrator."""
    from teledx_fed.core.checks import must
    from teledx_fed.diagnosis.directory import DiagnosisDirectory
    from teledx_fed.diagnosis.web.passwords import hashed_password
    from teledx_fed.store.values import Role

    must(not (oidc and password), "--password", "be left out with --oidc", "one", "Choose one of both.")
    role = Role.ADMIN if admin else Role.READER
    if not (oidc or password):
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    hashed = None if oidc else hashed_password(password)
    DiagnosisDirectory(folder).store().access.add_user(name, role, hashed)
    typer.echo(f"{name} may log in as {role}")


@user.command("disable")
def disable_user(name: str, folder: Folder = HERE) -> None:
    """Log a user out at once and refuse further log-ins; the user's readings stay."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(folder).store().access.set_disabled(name, True)
    typer.echo(f"{name} may not log in any more")


@device.command("add")
def add_device(name: str, folder: Folder = HERE) -> None:
    """Add a device and print its token, once. The device may submit studies and read the status of its own."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    typer.echo(DiagnosisDirectory(folder).store().access.add_device(name))


@device.command("revoke")
def revoke_device(name: str, folder: Folder = HERE) -> None:
    """Refuse a device's token from now on."""
    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    DiagnosisDirectory(folder).store().access.revoke_device(name)
    typer.echo(f"{name} is revoked")


@app.command()
def link(
    label: Annotated[str, typer.Argument(help="Who gets the link, for your own records.")],
    folder: Folder = HERE,
    hours: Annotated[float, typer.Option(help="Hours until the link expires.")] = 72,
) -> None:
    """Print the path of a page that accepts one study without a log-in, once."""
    from datetime import timedelta

    from teledx_fed.diagnosis.directory import DiagnosisDirectory

    token, _ = DiagnosisDirectory(folder).store().access.add_link(label, timedelta(hours=hours))
    typer.echo(f"/link/{token}")
