"""The coordinator's monitoring: metrics, health, and events for the webhook."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from teledx_fed.core.errors import UnavailableError
from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.common.certificates import expires
from teledx_fed.deployment.common.events import Disk, Event, Kind, Watcher, disk, machine_events
from teledx_fed.deployment.common.metrics import Metrics, expiry, gauge, gauges
from teledx_fed.deployment.common.monitoring import repeatedly, watched
from teledx_fed.deployment.server import control
from teledx_fed.deployment.server.overview import Overview, RunStanding, RunState, fault_in, overview
from teledx_fed.deployment.server.settings import ServerDirectory


def current_overview(directory: ServerDirectory) -> Overview:
    """Return the state of the federation, even if the server does not answer."""
    try:
        return overview(directory, control.nodes(directory), control.runs(directory))
    except UnavailableError:
        return overview(directory, None, ())


@contextmanager
def monitored(directory: ServerDirectory) -> Iterator[None]:
    """Serve health and metrics and report events to the webhook while the block runs."""
    watch = directory.settings.watch
    watcher = Watcher(directory.settings.hosts[0], directory.folder / "reported.json", watch.webhook)

    def metrics() -> Metrics:
        ends = expires(directory.certificate) if directory.certificate.exists() else None
        return server_metrics(current_overview(directory), ends)

    def report_events() -> None:
        watcher.report(server_events(current_overview(directory), disk(directory.folder)))

    with watched(watch.listen, metrics, lambda: {"superlink": control.is_up(directory)}), repeatedly(report_events):
        yield


def server_events(status: Overview, space: Disk) -> list[Event]:
    return [*_run_events(status), *machine_events(status.certificate_days, space)]


def _run_events(status: Overview) -> Iterator[Event]:
    """Yield the newest run's events: a site may be offline while no run is active."""
    run = status.run
    if run is None or not run.state.at_work:
        return
    if run.state is RunState.STALLED:
        yield Event(
            Kind.STALLED_RUN, run.name, f"no round has ended since {run.changed}; the last was round {run.round}"
        )
    for site in status.sites:
        fault = fault_in(status.rounds[-1], site.name) if status.rounds else None
        if fault and site.name in status.rounds[-1].refused:
            yield Event(Kind.REFUSED_UPDATE, f"{run.name}, {site.name}", f"round {fault.round}: {fault.reason}")
        elif fault:
            yield Event(Kind.SILENT_SITE, site.name, f"round {fault.round}: {fault.reason}")
        elif status.up and not site.online:
            yield Event(Kind.SILENT_SITE, site.name, "it is not connected")


def server_metrics(status: Overview, certificate: datetime | None) -> Metrics:
    """Yield the server's metrics; `certificate` is when its certificate expires."""
    yield gauge("server_sites_online", "Sites that are connected", sum(site.online for site in status.sites))
    yield from expiry("server_certificate", "the server's certificate", certificate)
    if status.run is not None:
        yield from _of_run(status.run)
    if status.rounds:
        yield from _of_round(status.rounds[-1])


def _of_run(run: RunStanding) -> Metrics:
    yield gauges(
        "server_run_state", "1 for the state of the newest run", "state", {s: s is run.state for s in RunState}
    )
    yield gauge("server_run_round", "Rounds that ended in the newest run", run.round)
    if run.rounds is not None:
        yield gauge("server_run_rounds", "Rounds planned in the newest run", run.rounds)
    sent = {"up": run.bytes_up, "down": run.bytes_down}
    yield gauges("server_run_bytes", "Sent by sites (up) and to them (down) in the newest run", "way", sent)


def _of_round(last: RoundReport) -> Metrics:
    sites = {"accepted": len(last.accepted), "refused": len(last.refused), "silent": len(last.silent)}
    yield gauges("server_round_sites", "Sites in the last round", "outcome", sites)
    yield gauge("server_round_seconds", "Duration of the last round", last.seconds)
