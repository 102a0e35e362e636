"""A worker: one network in which sites of this process train and score. Each call replaces its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from teledx_fed.config.settings import Settings
from teledx_fed.core.clock import Clock
from teledx_fed.core.examples import Example, Images, Site
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.core.updates import LocalTraining
from teledx_fed.core.weights import Weights, mean
from teledx_fed.evaluation.predictions import Predictions, predictions
from teledx_fed.model.heads import sigmoid
from teledx_fed.model.network import Grader, build, load, pack, save
from teledx_fed.training.compute import place
from teledx_fed.training.feature_cache import PLAIN, FeatureCache, Views
from teledx_fed.training.inputs import FeatureInputs, Inputs, PhotographInputs
from teledx_fed.training.local import Targets, learn

SCORING_BATCH = 32


@dataclass(frozen=True)
class SiteModel:
    """A model at one site: the weights that are sent, and the BatchNorm statistics that stay (possibly none)."""

    weights: Weights
    kept: Weights


def model_for_new_site(models: Sequence[SiteModel]) -> SiteModel:
    """Return the model with the mean of the BatchNorm statistics that the sites keep."""
    kept = models[0].kept
    statistics = mean([model.kept.statistics for model in models], [1] * len(models))
    return SiteModel(models[0].weights, replace(kept, statistics=statistics))


@dataclass(frozen=True)
class TrainedModel:
    """A model after local training, with the mean loss of its first epoch."""

    model: SiteModel
    loss: float


@dataclass
class Worker:
    """A network with cached inputs. Only one thread at a time may use it."""

    network: Grader
    clock: Clock = field(default_factory=Clock)
    initial: SiteModel = field(init=False)
    _loaded: SiteModel | None = field(default=None, init=False)
    _caches: dict[Path, FeatureCache] = field(default_factory=dict, init=False)
    _inputs_of: dict[tuple[Path, tuple[Example, ...], Views | None], Inputs] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.initial = self._model()

    def train(self, site: Site, model: SiteModel, training: LocalTraining, round: int) -> TrainedModel:
        with self.clock("training"):
            self._load(model)
            self._loaded = None
            targets = Targets.of(site.shard.train, self.network.head_type)
            inputs = self._inputs(site.images, site.shard.train, _views(training))
            loss = learn(self.network, inputs, targets, training, site.name, round)
            return TrainedModel(self._model(), loss)

    def predictions(
        self, images: Images, model: SiteModel, examples: Sequence[Example], temperature: float = 1.0
    ) -> Predictions:
        """Return scores by eye, from the logits of its photographs divided by `temperature`."""
        with self.clock("evaluation"):
            self._load(model)
            logits = self._logits(self._inputs(images, examples))
        head = self.network.head_type
        oedema = sigmoid(logits[:, head.outputs]) if self.network.oedema is not None else None
        return predictions(examples, head.scores(logits[:, : head.outputs], temperature), oedema)

    def _model(self) -> SiteModel:
        return SiteModel(pack(self.network, self.network.layout), pack(self.network, self.network.kept))

    def save(self, models: Sequence[SiteModel], path: Path, card: Mapping[str, Any] | None = None) -> None:
        """Save the network as for a new site: with the mean of the BatchNorm statistics that the sites keep."""
        self._load(model_for_new_site(models))
        save(self.network, path, card)

    def network_with(self, model: SiteModel) -> Grader:
        """Return the network with these weights. The next call of the worker may replace them."""
        self._load(model)
        return self.network

    def clear_inputs(self) -> None:
        """Drop the inputs of a finished part of the run: a GPU has no room for those of all parts."""
        self._inputs_of.clear()

    def _load(self, model: SiteModel) -> None:
        """Load the weights, unless the network has them since the last scoring."""
        if model is not self._loaded:
            load(self.network, model.weights)
            load(self.network, model.kept)
            self._loaded = model

    def _inputs(self, images: Images, examples: Sequence[Example], views: Views | None = PLAIN) -> Inputs:
        """Return photographs if `views` is None or nothing is frozen, else features. Cache them for later rounds."""
        key = images.folder, tuple(examples), views
        if key not in self._inputs_of:
            if views is None or not self.network.has_frozen_stages:
                self._inputs_of[key] = PhotographInputs(images, examples, self.network.device)
            else:
                gather = self._features(images).gather(examples, views)
                self._inputs_of[key] = FeatureInputs(gather, len(examples), len(views))
        return self._inputs_of[key]

    def _features(self, images: Images) -> FeatureCache:
        if images.folder not in self._caches:
            self._caches[images.folder] = FeatureCache(images, self.network)
        return self._caches[images.folder]

    @torch.inference_mode()
    def _logits(self, inputs: Inputs) -> NDArray[np.float64]:
        self.network.eval()
        chunks = np.array_split(np.arange(len(inputs)), max(1, -(-len(inputs) // SCORING_BATCH)))
        logits = [inputs.logits(self.network, index, None).cpu().double().numpy() for index in chunks]
        return np.concatenate(logits)


def build_workers(settings: Settings, clock: Clock, reporter: Reporter) -> list[Worker]:
    """Build the workers of the settings, each with its own network. Only the first reports its device."""
    return [
        Worker(place(build(settings.model, settings.seed), settings, SILENT if number else reporter, number), clock)
        for number in range(settings.simulation.workers)
    ]


def _views(training: LocalTraining) -> Views | None:
    """Return the views to train on; None for photographs with new augmentation in each epoch."""
    if not training.augment:
        return PLAIN
    return tuple(range(training.views)) or None
