"""The Flower ServerApp of the coordinator: conducts the run that `python -m server run` ordered."""

import os
from dataclasses import fields
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from teledx_fed.deployment.control import Order
from teledx_fed.deployment.coordinator import conduct
from teledx_fed.deployment.server_settings import HOME, ServerHome

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    order = Order(**{field.name: str(context.run_config[field.name]) for field in fields(Order)})
    conduct(grid, order, ServerHome(Path(os.environ[HOME])))
