"""Apps without training that a SuperNode runs in a new process for each message, as Flower does by default.

`named`: Flower's quickstart, 358 named arrays, train and evaluate. `vector`: ours, one vector and one message a round.
"""

import os
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.jobs.flower_app import client_app as quickstart_app
from benchmarks.jobs.idle_app import hospital_of, idle
from benchmarks.jobs.quickstart import Net
from benchmarks.jobs.task import settings, stopwatch
from teledx_fed.config.federation import FederationSettings
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.keys import create_site_keys
from teledx_fed.deployment.server.grid import NetworkGrid
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.site import client_app

FOLDER = "DEPLOYED_ROUND_FOLDER"
SITES = ("hospital_0", "hospital_1")


def named() -> tuple[ServerApp, ClientApp]:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        arrays = ArrayRecord(Net().state_dict())
        stopwatch(lambda count: FedAvg(min_available_nodes=len(SITES)).start(grid, arrays, count), _folder())

    return server, quickstart_app("idle")


def vector() -> tuple[ServerApp, ClientApp]:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        key = _folder() / "audit.key"
        create_site_keys(key, key.with_suffix(".pub"), "audit")
        network = NetworkGrid(grid, AuditLog(_folder() / "audit.jsonl", key), print, SITES, len(SITES), 60)
        worker = idle()

        def rounds(count: int) -> None:
            run_settings = replace(settings(), federation=FederationSettings(rounds=count))
            coordinate(network, worker, run_settings, _folder() / f"{count} rounds")

        stopwatch(rounds, _folder())

    return server, client_app(lambda context: hospital_of(idle(), context))


def _folder() -> Path:
    return Path(os.environ[FOLDER])
