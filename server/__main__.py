"""Commands of a coordinator: `python -m server --help`."""

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.runs import app as runs
from teledx_fed.commands import HERE, AsJson, Folder, answer, program
from teledx_fed.deployment.server.settings import ServerDirectory

if TYPE_CHECKING:
    from rich.console import Group

    from teledx_fed.deployment.server.overview import Overview

app = program()
app.add_typer(runs)

Certificate = Annotated[Path | None, typer.Option(help="Your own server certificate, PEM.")]
Key = Annotated[Path | None, typer.Option(help="Its private key.")]


@app.callback()
def coordinator() -> None:
    """Run the aggregation server of a federation of hospitals."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for all files of the server.")],
    host: Annotated[
        list[str], typer.Option(help="A name or address by which hospitals reach the server. Repeat it for each.")
    ],
    cert: Certificate = None,
    key: Key = None,
    ca: Annotated[Path | None, typer.Option(help="The certificate of the authority that issued it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create the server's folder: certificates, server.yaml, directories. Existing files are not changed."""
    from teledx_fed.deployment.server.layout import init_server

    directory = ServerDirectory(folder)
    init_server(directory, host, (cert, key, ca))
    next_step = f"python -m server start --dir {folder}"
    line = f"{folder} is ready. Give {directory.authority} to each hospital, then: {next_step}"
    answer(as_json, line, folder=str(folder), authority=str(directory.authority))


@app.command()
def start(
    folder: Folder = HERE,
    service: Annotated[bool, typer.Option(help="Print a systemd unit that runs this command, and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the server until it is stopped. It prints a line when hospitals and this machine can reach it."""
    directory = ServerDirectory(folder)
    port = directory.settings.port
    if service:
        from teledx_fed.deployment.common.layout import server_unit

        typer.echo(server_unit(folder), nl=False)
        return
    from teledx_fed.deployment.server.monitoring import monitored
    from teledx_fed.deployment.server.superlink import serve

    with monitored(directory):
        when_up = partial(answer, as_json, f"up: hospitals reach it on port {port}", up=True, port=port)
        serve(directory, when_up, partial(typer.echo, err=True))


@app.command()
def admit(
    public_key: Annotated[Path, typer.Argument(help="The file that the hospital sent.")],
    name: Annotated[str, typer.Option(help="The hospital's name on this server.")],
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Admit a hospital to the federation."""
    from teledx_fed.deployment.common.certificates import fingerprint
    from teledx_fed.deployment.server import control

    control.admit(ServerDirectory(folder), name, public_key)
    shown = fingerprint(public_key)
    answer(as_json, f"{name} is admitted; its key is {shown}: compare it by telephone", name=name, fingerprint=shown)


@app.command()
def expel(name: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Expel a hospital: the server refuses its requests from now on."""
    from teledx_fed.deployment.server import control

    control.expel(ServerDirectory(folder), name)
    answer(as_json, f"{name} is expelled", name=name)


@app.command()
def status(
    watch: Annotated[bool, typer.Option(help="Show it again every two seconds, until Ctrl-C.")] = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Show sites, the current round, metrics, bytes, and when the certificate expires."""
    from rich.console import Console
    from rich.live import Live

    from teledx_fed.deployment.server.monitoring import current_overview

    directory = ServerDirectory(folder)
    if as_json:
        typer.echo(json.dumps(asdict(current_overview(directory))))
        return
    if not watch:
        Console().print(_status_text(current_overview(directory)))
        return
    with Live(_status_text(current_overview(directory)), auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            live.update(_status_text(current_overview(directory)), refresh=True)
            time.sleep(2)


def _status_text(overview: "Overview") -> "Group":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from teledx_fed.core.formatting import number, size

    run = overview.run
    summary = "no run yet"
    if run is not None:
        scores = ", ".join(f"{name} {number(run.metrics.get(name), '.3f')}" for name in ("referable_auroc", "qwk"))
        traffic = f"{size(run.bytes_up)} up, {size(run.bytes_down)} down"
        summary = f"run {run.name} is {run.state}: round {run.round} of {run.rounds}, {scores}, {traffic}"
    sites = Table("site", "online since", "last reply", "last fault", box=None, pad_edge=False)
    for site in overview.sites:
        replied = f"round {site.last_reply.round}, {site.last_reply.time}" if site.last_reply else ""
        fault = f"round {site.last_fault.round}: {site.last_fault.reason}" if site.last_fault else ""
        sites.add_row(*map(Text, (site.name, site.online_since or "offline", replied, fault)))
    up = "the server is up" if overview.up else "the server does not answer"
    return Group(Text(up), Text(summary), sites, Text(f"the certificate expires in {overview.certificate_days} days"))


@app.command()
def page(
    listen: Annotated[str, typer.Option(help="HOST:PORT of the page.")] = "127.0.0.1:9095", folder: Folder = HERE
) -> None:
    """Show the status as a web page that a token protects, until Ctrl-C."""
    from secrets import token_urlsafe

    from teledx_fed.deployment.common.settings import checked_address
    from teledx_fed.deployment.server.monitoring import current_overview
    from teledx_fed.deployment.server.web.page import server

    (host, port), token, directory = checked_address("--listen", listen), token_urlsafe(32), ServerDirectory(folder)
    typer.echo(f"http://{host}:{port}/?token={token}")
    server(lambda: current_overview(directory), token, host, port).run()


@app.command()
def renew(cert: Certificate = None, key: Key = None, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Renew the server's certificate, from the same authority, for the hosts in server.yaml.

    A running server uses the new certificate without a restart.
    """
    from teledx_fed.deployment.server.layout import renew_server

    days = renew_server(ServerDirectory(folder), cert, key)
    answer(as_json, f"the certificate now expires in {days} days; a running server uses it", days=days)


@app.command()
def verify(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Check whether the audit log was changed. Exit code 1 if it was."""
    from teledx_fed.deployment.common.audit import verify as faults_in

    directory = ServerDirectory(folder)
    faults = faults_in(directory.audit_log)
    answer(as_json, "\n".join(faults) or "nothing was changed", faults=faults)
    sys.exit(int(bool(faults)))


if __name__ == "__main__":
    app(prog_name="python -m server")
