"""Build the hospital of a Flower node in its process, from the settings in the configuration of the run."""

import json
import logging
from functools import cache
from pathlib import Path

from flwr.app import Context

from teledx_fed.config.loading import build
from teledx_fed.core.reports import LogReporter
from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.site import Hospital
from teledx_fed.model.network import build as build_network
from teledx_fed.training.compute import place
from teledx_fed.training.worker import Worker

reporter = LogReporter(logging.getLogger(__name__))


def hospital_of(context: Context) -> Hospital:
    """Return the hospital that `site` in the configuration of the node names."""
    return _hospitals(str(context.run_config["settings"]))[str(context.node_config["site"])]


@cache
def _hospitals(settings_json: str) -> dict[str, Hospital]:
    settings = build(json.loads(settings_json))
    folder = Path(settings.folder or settings.data.cache)
    worker = Worker(place(build_network(settings.model, settings.seed), settings, reporter))
    return {
        name: Hospital(site, worker, settings, folder / "sites" / name)
        for name, site in hospitals(settings, folder, reporter).items()
    }
