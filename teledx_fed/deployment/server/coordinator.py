"""A run on the coordinator's machine, from the order that Flower's app receives to a model on disk."""

import json
import logging
from dataclasses import asdict

from flwr.serverapp import Grid

from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.files import LOCK, exclusive, write_text
from teledx_fed.core.reports import Readiness
from teledx_fed.deployment.server.control import READINESS, RunRequest, nodes
from teledx_fed.deployment.server.grid import NetworkGrid
from teledx_fed.deployment.server.run_requests import folder_of
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.release import release
from teledx_fed.federation.simulation import conclude, coordinate
from teledx_fed.federation.statistics import ask_for_statistics, readiness, together
from teledx_fed.model.network import build as build_network
from teledx_fed.training.worker import SiteModel, Worker

log = logging.getLogger(__name__)


def conduct(grid: Grid, request: RunRequest, directory: ServerDirectory) -> None:
    """Start or resume a run in its folder. A `RefusedError` if another process uses the folder."""
    settings, folder = build(json.loads(request.settings)), folder_of(directory, request)
    sites = [node.name for node in nodes(directory)]
    quorum, seconds = settings.federation.quorum, directory.settings.wait_seconds
    with exclusive(folder / LOCK):
        network = NetworkGrid(grid, directory.audit_log, log.warning, sites, quorum, seconds)
        if request.kind == READINESS:
            write_text(folder / "readiness.json", json.dumps([asdict(one) for one in _ready(network, settings)]))
            return
        worker = Worker(build_network(settings.model, settings.seed))
        last = coordinate(network, worker, settings, folder)
        conclude(network, last, settings, folder)
        kept = worker.initial.kept
        worker.save([SiteModel(last.weights, kept)], folder / "last.safetensors")
        release(worker, [SiteModel(last.best.weights, kept)], last.best, settings, folder / "model.safetensors")


def _ready(grid: NetworkGrid, settings: Settings) -> list[Readiness]:
    """Return each site's readiness, and last that of all together."""
    replies, tables = ask_for_statistics(grid, settings.federation)
    sites = readiness(replies, tables, settings)
    return [*sites, together(sites, settings)]
