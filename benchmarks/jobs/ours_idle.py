"""This project's rounds without training, on either backend: `python -m benchmarks.jobs.ours_idle BACKEND FOLDER`."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from flwr.serverapp import Grid

from benchmarks.jobs.idle_app import hospital_of, hospital_on_an_actor, idle
from benchmarks.jobs.task import CORES, settings, sites, stopwatch
from teledx_fed.config.federation import FederationSettings
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.ray_runtime import ray_grid
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.site import client_app


def grid(backend: str, folder: Path) -> AbstractContextManager[Grid]:
    names = [site.name for site in sites()]
    if backend == "ray":
        return ray_grid(client_app(hospital_on_an_actor), names, settings(), folder)
    apps = [client_app(partial(hospital_of, idle())) for _ in range(CORES)]
    return nullcontext(InProcessGrid(apps, names))


def main(backend: str, folder: Path) -> None:
    server = idle()
    with grid(backend, folder) as opened:

        def rounds(count: int) -> None:
            run_settings = replace(settings(), federation=FederationSettings(rounds=count))
            coordinate(opened, server, run_settings, folder / f"{count} rounds")

        stopwatch(rounds, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
