"""Every site in an actor of Flower's Ray runtime, on this machine or on a cluster: the same rounds, the same bits."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.reports import LogReporter
from teledx_fed.federation.flower import PARTITION_ID_KEY, Backend, BackendConfig
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.training.compute import device

log = logging.getLogger(__name__)

WITHOUT_LIMIT = -1


@contextmanager
def ray_grid(app: ClientApp, sites: Sequence[str], settings: Settings, folder: Path) -> Iterator[Grid]:
    """A grid with a node a site, on the cluster that RAY_ADDRESS names, or else on a Ray of its own on this machine.

    `folder` is the run's: what a site keeps from round to round must be there for whichever actor it comes to next.
    A `ValueError` where Ray is not installed, or no machine of the cluster has room for a site.
    """
    try:
        import ray

        from teledx_fed.federation.flower import RayBackend
    except ImportError as error:
        raise ConfigurationError(
            "simulation.backend must be in_process where Ray is not installed, got ray. "
            "For ray say pip install teledx-fed[ray]."
        ) from error
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the device is in the settings, not hidden
    settings = travelling(settings, folder)
    try:
        backend = RayBackend(_config(settings))
        _start_actors(backend, app, settings)
        apps = [ActorApp(backend)] * backend.num_workers
        yield InProcessGrid(apps, sites, {"settings": json.dumps(asdict(settings))})
    finally:
        ray.shutdown()


class ActorApp(ClientApp):
    """The app that the backend was built with, as it answers in one of the actors."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def __call__(self, message: Message, context: Context) -> Message:
        numbered = {**context.node_config, PARTITION_ID_KEY: context.node_id}  # Flower's runtime asks for it
        reply, _ = self._backend.process_message(message, replace(context, node_config=numbered))
        return reply


def travelling(settings: Settings, folder: Path) -> Settings:
    """The settings for a process in another working directory, which may not choose its own device."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute())

    sources = {name: replace(source, root=absolute(source.root)) for name, source in settings.data.sources.items()}
    return replace(
        settings,
        folder=str(folder.absolute()),
        data=replace(settings.data, sources=sources, cache=absolute(settings.data.cache)),
        model=replace(settings.model, file=settings.model.file and absolute(settings.model.file)),
        simulation=replace(settings.simulation, device=device(settings, LogReporter(log)).type),
    )


def _config(settings: Settings) -> BackendConfig:
    simulation, address = settings.simulation, os.environ.get("RAY_ADDRESS", "local")
    here = {"num_cpus": simulation.workers * simulation.threads} if address == "local" else {}
    return {
        "init_args": {"address": address, "logging_level": logging.WARNING, **here},
        "client_resources": {
            "num_cpus": simulation.threads,
            "num_gpus": int(simulation.device == "cuda"),
            "max_restarts": WITHOUT_LIMIT,
            "max_task_retries": 1,  # a round asked for twice gives the same bytes
        },
    }


def _start_actors(backend: Backend, app: ClientApp, settings: Settings) -> None:
    try:
        backend.build(lambda: app)
    except ValueError as error:
        simulation = settings.simulation
        raise ConfigurationError(
            "simulation.threads and simulation.device must fit a machine of the Ray cluster, "
            f"got {simulation.threads} and {simulation.device}. Ask for less, or add a machine that has it."
        ) from error
