"""Flower's Ray runtime: sites run in actors, here or on a cluster. Results are bit-identical to one process."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.reports import LogReporter
from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.flower import PARTITION_ID_KEY, Backend, BackendConfig
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.site import Hospital
from teledx_fed.model.network import build as build_network
from teledx_fed.training.compute import device, place
from teledx_fed.training.worker import Worker

log = logging.getLogger(__name__)

WITHOUT_LIMIT = -1


@contextmanager
def ray_grid(app: ClientApp, sites: Sequence[str], settings: Settings, folder: Path) -> Iterator[Grid]:
    """Yield a grid with a node for each site, on the cluster at RAY_ADDRESS or else on a new Ray on this machine.

    `folder` is the run's; every actor must reach it, because it stores the state of sites between rounds.
    A `ConfigurationError` if Ray is not installed, or if no machine of the cluster has room for a site.
    """
    try:
        import ray

        from teledx_fed.federation.flower import RayBackend
    except ImportError as error:
        raise ConfigurationError(
            "simulation.backend must be in_process where Ray is not installed, got ray. "
            "For ray say pip install teledx-fed[ray]."
        ) from error
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray must not hide GPUs
    settings = travelling(settings, folder)
    try:
        backend = RayBackend(_config(settings))
        _start_actors(backend, app, settings)
        apps = [ActorApp(backend)] * backend.num_workers
        yield InProcessGrid(apps, sites, {"settings": json.dumps(asdict(settings))})
    finally:
        ray.shutdown()


class ActorApp(ClientApp):
    """An app that runs the app of the backend in one of its actors."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def __call__(self, message: Message, context: Context) -> Message:
        numbered = {**context.node_config, PARTITION_ID_KEY: context.node_id}  # Flower's runtime reads it
        reply, _ = self._backend.process_message(message, replace(context, node_config=numbered))
        return reply


def travelling(settings: Settings, folder: Path) -> Settings:
    """Return settings for a process in another working directory: absolute paths, and the device of this one."""

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
            "max_task_retries": 1,  # a repeated round gives the same bytes
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


reporter = LogReporter(logging.getLogger(__name__))


def hospital_of(context: Context, local: bool = False) -> Hospital:
    """Return the hospital that `site` in the configuration of the node names.

    Only a `local` run may use a head or a partition of another package.
    """
    return _hospitals(str(context.run_config["settings"]), local)[str(context.node_config["site"])]


@cache
def _hospitals(settings_json: str, local: bool) -> dict[str, Hospital]:
    settings = build(json.loads(settings_json), local)
    folder = Path(settings.folder or settings.data.cache)
    worker = Worker(place(build_network(settings.model, settings.seed), settings, reporter))
    return {
        name: Hospital(site, worker, settings, folder / "sites" / name)
        for name, site in hospitals(settings, folder, reporter).items()
    }
