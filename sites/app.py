"""The Flower ClientApp of a hospital: `site` in the node's configuration says which hospital of the settings it is."""

import json
import logging
from functools import cache
from pathlib import Path

from flwr.app import Context

from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.model.network import build as build_network
from teledx_fed.settings import build
from teledx_fed.training.compute import device
from teledx_fed.training.worker import Worker

log = logging.getLogger(__name__)


@cache
def _hospitals(settings_json: str) -> dict[str, Hospital]:
    settings = build(json.loads(settings_json))
    folder = Path(settings.data.cache) / "site"
    worker = Worker(build_network(settings.model, settings.seed).to(device(settings, log.info)))
    return {
        name: Hospital(site, worker, settings, folder / name)
        for name, site in hospitals(settings, folder, lambda done, total: None, log.info).items()
    }


def _hospital(context: Context) -> Hospital:
    return _hospitals(str(context.run_config["settings"]))[str(context.node_config["site"])]


app = client_app(_hospital)
