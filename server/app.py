"""The Flower ServerApp of the coordinator: the rounds of the settings that the run was started with."""

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from teledx_fed.federation.simulation import conclude, coordinate
from teledx_fed.model.network import build as build_network
from teledx_fed.settings import build
from teledx_fed.training.worker import Worker

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    settings = build(json.loads(str(context.run_config["settings"])))
    worker = Worker(build_network(settings.model, settings.seed))
    folder = Path(settings.folder or f"run-{context.run_id}")
    conclude(grid, coordinate(grid, worker, settings, folder), settings, folder)
