"""What a coordinator does: `python -m server --help`."""

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from teledx_fed.commands import HERE, AsJson, Home, answer, program

app = program()


@app.callback()
def coordinator() -> None:
    """The aggregation server of a federation of hospitals."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for all that the server keeps.")],
    host: Annotated[list[str], typer.Option(help="A name or address by which hospitals reach it; say it for each.")],
    cert: Annotated[Path | None, typer.Option(help="Your own server certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The authority that it goes back to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lay out the server's folder: certificates, server.yaml, directories. Nothing is overwritten."""
    from teledx_fed.deployment.server.layout import init_server
    from teledx_fed.deployment.server.settings import ServerDirectory

    home = ServerDirectory(folder)
    init_server(home, host, (cert, key, ca))
    line = f"{folder} is laid out. Give {home.authority} to each hospital, then: python -m server start --dir {folder}"
    answer(as_json, line, folder=str(folder), authority=str(home.authority))


@app.command()
def start(
    home: Home = HERE,
    service: Annotated[bool, typer.Option(help="Print a systemd unit that does this, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve until stopped; says that it is up once it answers hospitals and this machine."""
    if service:
        _print_unit(home)
        return
    from teledx_fed.deployment.server.monitoring import monitored
    from teledx_fed.deployment.server.settings import ServerDirectory
    from teledx_fed.deployment.server.superlink import serve

    here = ServerDirectory(home)
    port = here.settings.port
    with monitored(here):
        up = partial(answer, as_json, f"up: hospitals reach it on port {port}", up=True, port=port)
        serve(here, up, partial(typer.echo, err=True))


def _print_unit(folder: Path) -> None:
    from teledx_fed.deployment.common.service import server_unit
    from teledx_fed.deployment.server.settings import ServerDirectory

    assert ServerDirectory(folder).settings.hosts
    typer.echo(server_unit(folder), nl=False)


@app.command()
def admit(
    public_key: Annotated[Path, typer.Argument(help="The file that the hospital sent.")],
    name: Annotated[str, typer.Option(help="By which the hospital goes here.")],
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Let a hospital take part."""
    from teledx_fed.deployment.common.certificates import fingerprint
    from teledx_fed.deployment.server import control
    from teledx_fed.deployment.server.settings import ServerDirectory

    control.admit(ServerDirectory(home), name, public_key)
    shown = fingerprint(public_key)
    answer(as_json, f"{name} is admitted; its key is {shown}: compare it by telephone", name=name, fingerprint=shown)


@app.command()
def expel(name: str, home: Home = HERE, as_json: AsJson = False) -> None:
    """Turn a hospital away from now on."""
    from teledx_fed.deployment.server import control
    from teledx_fed.deployment.server.settings import ServerDirectory

    control.expel(ServerDirectory(home), name)
    answer(as_json, f"{name} is expelled", name=name)


@app.command()
def run(
    asked: Annotated[list[str], typer.Argument(help="An experiment of conf/experiment, then settings as NAME=VALUE.")],
    name: Annotated[str | None, typer.Option(help="The run's; the time of day without.")] = None,
    detach: Annotated[bool, typer.Option(help="Do not stay to watch.")] = False,
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Compose and check what is asked of the hospitals, start it, and watch its rounds."""
    from teledx_fed.deployment.server.run_requests import order_of
    from teledx_fed.deployment.server.settings import ServerDirectory

    here = ServerDirectory(home)
    order, ordered = order_of(here, asked, name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    _conduct(here, order, detach, as_json, ordered)


@app.command()
def plan(
    asked: Annotated[list[str], typer.Argument(help="An experiment of conf/experiment, then settings as NAME=VALUE.")],
    out: Annotated[Path, typer.Option(help="The file to write, for each hospital to approve.")],
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the plan that hospitals must approve. Give run and readiness the same experiment and settings."""
    from teledx_fed.deployment.common import plans
    from teledx_fed.deployment.server.run_requests import plan_of
    from teledx_fed.deployment.server.settings import ServerDirectory

    written = plan_of(ServerDirectory(home), asked)
    plans.write(written, out)
    line = f"plan {written.digest[:12]} is in {out}: give it to each hospital"
    answer(as_json, line, plan=written.digest, file=str(out))


@app.command()
def resume(run: str, detach: bool = False, home: Home = HERE, as_json: AsJson = False) -> None:
    """Go on with a run from its last completed round."""
    from teledx_fed.deployment.server.run_requests import kept_order
    from teledx_fed.deployment.server.settings import ServerDirectory

    here = ServerDirectory(home)
    _conduct(here, kept_order(here, run), detach, as_json)


def _conduct(home: Any, order: Any, detach: bool, as_json: bool, ordered: Any = None) -> None:
    from teledx_fed.deployment.server.run_requests import place, watch
    from teledx_fed.reporting.progress import TerminalReporter

    place(home, order, ordered)
    answer(as_json, f"run {order.run} is started, by plan {order.plan[:12]}", run=order.run, plan=order.plan)
    if detach:
        return
    if as_json:
        watch(home, order, lambda report, rounds: typer.echo(json.dumps(asdict(report))))
        return
    with TerminalReporter() as reporter:
        reporter.phase("rounds")
        watch(home, order, reporter.round)
    typer.echo(f"run folder: {home.run(order.run)}")


@app.command()
def stop(run: str, home: Home = HERE, as_json: AsJson = False) -> None:
    """Stop a run; what it has completed stays, and can be resumed."""
    from teledx_fed.deployment.server import control
    from teledx_fed.deployment.server.settings import ServerDirectory

    control.stop(ServerDirectory(home), run)
    answer(as_json, f"run {run} is stopped", run=run)


@app.command("list")
def listed(home: Home = HERE, as_json: AsJson = False) -> None:
    """Every run, the newest first."""
    from teledx_fed.deployment.server import control
    from teledx_fed.deployment.server.settings import ServerDirectory

    runs = control.runs(ServerDirectory(home))
    lines = [f"{found.run}  {found.status}  {found.details}".rstrip() for found in runs]
    answer(as_json, "\n".join(lines) or "no run yet", runs=[asdict(found) for found in runs])


@app.command()
def readiness(
    asked: Annotated[list[str], typer.Argument(help="An experiment of conf/experiment, then settings as NAME=VALUE.")],
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Ask each hospital what it has, in rounded counts, and say who can begin; exit code 1 where too few can."""
    from teledx_fed.deployment.server.control import READINESS
    from teledx_fed.deployment.server.run_requests import answers, order_of, place, watch
    from teledx_fed.deployment.server.settings import ServerDirectory
    from teledx_fed.reporting.readiness import table

    here = ServerDirectory(home)
    order, ordered = order_of(here, asked, f"readiness-{datetime.now():%Y-%m-%d_%H-%M-%S}", READINESS)
    place(here, order, ordered)
    watch(here, order)
    found = answers(here, order)
    answer(as_json, table(found), sites=[asdict(one) for one in found])
    sys.exit(int(not found[-1].go))


@app.command()
def status(
    watch: Annotated[bool, typer.Option(help="Show it again every two seconds, until Ctrl-C.")] = False,
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """Sites, the current round, metrics, bytes, and when the certificate expires."""
    from rich.console import Console
    from rich.live import Live

    from teledx_fed.deployment.server.monitoring import current_overview
    from teledx_fed.deployment.server.settings import ServerDirectory

    here = ServerDirectory(home)
    if as_json:
        typer.echo(json.dumps(asdict(current_overview(here))))
        return
    if not watch:
        Console().print(_standing(current_overview(here)))
        return
    with Live(_standing(current_overview(here)), auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            live.update(_standing(current_overview(here)), refresh=True)
            time.sleep(2)


def _standing(status: Any) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from teledx_fed.core.formatting import number, size

    run = status.run
    told = "no run yet"
    if run is not None:
        scores = ", ".join(f"{name} {number(run.metrics.get(name), '.3f')}" for name in ("referable_auroc", "qwk"))
        traffic = f"{size(run.bytes_up)} up, {size(run.bytes_down)} down"
        told = f"run {run.name} is {run.state}: round {run.round} of {run.rounds}, {scores}, {traffic}"
    sites = Table("site", "online since", "last reply", "last fault", box=None, pad_edge=False)
    for site in status.sites:
        replied = f"round {site.last_reply.round}, {site.last_reply.time}" if site.last_reply else ""
        fault = f"round {site.last_fault.round}: {site.last_fault.reason}" if site.last_fault else ""
        sites.add_row(*map(Text, (site.name, site.online_since or "offline", replied, fault)))
    days = f"the certificate expires in {status.certificate_days} days"
    return Group(Text("the server is up" if status.up else "the server does not answer"), Text(told), sites, Text(days))


@app.command()
def page(
    listen: Annotated[str, typer.Option(help="HOST:PORT where it is shown.")] = "127.0.0.1:9095",
    home: Home = HERE,
) -> None:
    """Show the same as a page, behind a token, until Ctrl-C."""
    from secrets import token_urlsafe

    from teledx_fed.deployment.common.settings import checked_address
    from teledx_fed.deployment.server.monitoring import current_overview
    from teledx_fed.deployment.server.settings import ServerDirectory
    from teledx_fed.deployment.server.web.page import server

    (host, port), token, here = checked_address("--listen", listen), token_urlsafe(32), ServerDirectory(home)
    typer.echo(f"http://{host}:{port}/?token={token}")
    server(lambda: current_overview(here), token, host, port).run()


@app.command()
def renew(
    cert: Annotated[Path | None, typer.Option(help="Your own server certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    home: Home = HERE,
    as_json: AsJson = False,
) -> None:
    """A new server certificate from the same authority, for the hosts in server.yaml; a running server takes it up."""
    from teledx_fed.deployment.server.layout import renew_server
    from teledx_fed.deployment.server.settings import ServerDirectory

    days = renew_server(ServerDirectory(home), cert, key)
    answer(as_json, f"the certificate now expires in {days} days; a running server takes it up", days=days)


@app.command()
def verify(home: Home = HERE, as_json: AsJson = False) -> None:
    """Whether anything in the audit log was changed; exit code 1 where it was."""
    from teledx_fed.deployment.common.audit import verify as faults_in
    from teledx_fed.deployment.server.settings import ServerDirectory

    here = ServerDirectory(home)
    faults = faults_in(here.audit, here.audit_key.with_suffix(".pub"))
    answer(as_json, "\n".join(faults) or "nothing was changed", faults=faults)
    sys.exit(int(bool(faults)))


if __name__ == "__main__":
    app(prog_name="python -m server")
