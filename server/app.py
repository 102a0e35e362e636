"""The Flower ServerApp of the coordinator: conducts the run that `python -m server run` ordered."""

import os
from dataclasses import fields
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from teledx_fed.deployment.server.control import RunRequest
from teledx_fed.deployment.server.coordinator import conduct
from teledx_fed.deployment.server.settings import FOLDER_VARIABLE, ServerDirectory

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    request = RunRequest(**{field.name: str(context.run_config[field.name]) for field in fields(RunRequest)})
    conduct(grid, request, ServerDirectory(Path(os.environ[FOLDER_VARIABLE])))
