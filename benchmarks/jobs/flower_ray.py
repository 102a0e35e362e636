"""Flower's Ray runtime: `python -m benchmarks.jobs.flower_ray LOOP FOLDER`. Two sites at once, a core each."""

import sys
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.server.superlink.fleet.vce.backend.backend import BackendConfig
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.jobs.flower_app import client_app
from benchmarks.jobs.quickstart import Net
from benchmarks.jobs.task import CORES, ROUNDS, SITES, stopwatch


def main(loop: str, folder: Path) -> None:
    server_app = ServerApp()

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        arrays = ArrayRecord(Net().state_dict())

        def rounds(count: int) -> ArrayRecord:
            return FedAvg(min_available_nodes=SITES).start(grid, arrays, count).arrays

        if loop == "idle":
            stopwatch(rounds, folder)
        else:
            torch.save(rounds(ROUNDS).to_torch_state_dict(), folder / "final_model.pt")

    resources: BackendConfig = {
        "init_args": {"address": "local", "num_cpus": CORES},
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    run_simulation(server_app, client_app(loop), SITES, backend_config=resources)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
