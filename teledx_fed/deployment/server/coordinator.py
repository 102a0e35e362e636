"""A run on the coordinator's machine, from the request that Flower's app receives to a model on disk."""

import json
import logging
from dataclasses import asdict

from flwr.serverapp import Grid

from teledx_fed.config.loading import build
from teledx_fed.core.files import LOCK, exclusive, write_text
from teledx_fed.deployment.server.control import READINESS, RunRequest, nodes
from teledx_fed.deployment.server.grid import NetworkGrid
from teledx_fed.deployment.server.run_requests import folder_of
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.data_summaries import ask_for_summaries, readiness, together
from teledx_fed.federation.release import release
from teledx_fed.federation.simulation import conclude, coordinate
from teledx_fed.model.network import build as build_network
from teledx_fed.training.worker import SiteModel, Worker

log = logging.getLogger(__name__)


def conduct(grid: Grid, request: RunRequest, directory: ServerDirectory) -> None:
    """Start or resume a run in its folder. A `RefusedError` if another process uses the folder."""
    settings, folder = build(json.loads(request.settings)), folder_of(directory, request)
    names = [node.name for node in nodes(directory)]
    quorum, seconds = settings.federation.quorum, directory.settings.wait_seconds
    with exclusive(folder / LOCK):
        network = NetworkGrid(grid, directory.audit_log, log.warning, names, quorum, seconds)
        if request.kind == READINESS:
            sites = readiness(*ask_for_summaries(network, settings.federation), settings)
            results = [asdict(one) for one in (*sites, together(sites, settings))]
            write_text(folder / "readiness.json", json.dumps(results))
            return
        worker = Worker(build_network(settings.model, settings.seed))
        last = coordinate(network, worker, settings, folder)
        conclude(network, last, settings, folder)
        kept = worker.initial.kept
        worker.save([SiteModel(last.weights, kept)], folder / "last.safetensors")
        release(worker, [SiteModel(last.best.weights, kept)], last.best, settings, folder / "model.safetensors")
