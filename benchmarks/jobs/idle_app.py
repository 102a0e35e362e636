"""Our own ClientApp with a worker that does not train, in its own module for Ray's actors to import."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from flwr.app import Context

from benchmarks.jobs.task import CACHE, settings, sites
from teledx_fed.core.examples import GRADES, Example, Images, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.core.updates import LocalTraining
from teledx_fed.evaluation.predictions import Predictions, predictions
from teledx_fed.federation.site import Hospital
from teledx_fed.model.network import build
from teledx_fed.training.compute import place
from teledx_fed.training.worker import SiteModel, TrainedModel, Worker


class Idle(Worker):
    """Worker that loads and packs weights without training; it changes the head a little, so no update is zero."""

    def train(self, site: Site, model: SiteModel, training: LocalTraining, round: int) -> TrainedModel:
        self._load(model)
        with torch.no_grad():
            next(self.network.head.parameters()).add_(1e-3)
        return TrainedModel(self._model(), 0.0)

    def predictions(
        self, images: Images, model: SiteModel, examples: Sequence[Example], temperature: float = 1.0
    ) -> Predictions:
        self._load(model)
        return predictions(examples, np.full((len(examples), GRADES), 1 / GRADES))


def idle() -> Idle:
    return Idle(place(build(settings().model, settings().seed), settings(), SILENT))


def hospital_of(worker: Worker, context: Context) -> Hospital:
    name = str(context.node_config["site"])
    site = next(site for site in sites() if site.name == name)
    return Hospital(site, worker, settings(), CACHE / "sites" / name)


@cache
def resident() -> Idle:
    return idle()


def hospital_on_an_actor(context: Context) -> Hospital:
    return hospital_of(resident(), context)
