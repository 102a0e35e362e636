"""The client program of a hospital: it answers the server's requests to train, to score and to summarise data."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Site
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.core.updates import GlobalModel, LocalUpdate, Tables
from teledx_fed.core.weights import Weights
from teledx_fed.data.summary import summary
from teledx_fed.evaluation.intervals import design_effects
from teledx_fed.evaluation.operating_points import call_referable, choose_operating_points
from teledx_fed.evaluation.tables import EFFECTS, table
from teledx_fed.federation.messages import (
    DESIGN_EFFECTS,
    LARGEST_LOSS,
    LOSS_DECIMALS,
    PARAMETERS,
    TABLES,
    arrays,
    model_of,
    reply,
    split_of,
    training_of,
)
from teledx_fed.federation.replies import EFFECT_DECIMALS
from teledx_fed.federation.round_state import RoundState
from teledx_fed.federation.strategies.registry import needs_loss
from teledx_fed.privacy.message_spec import kind_of
from teledx_fed.privacy.transforms import decode, encode, transformed, transforms_of
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import SiteModel, Worker

log = logging.getLogger(__name__)

FAILED = 2
SUMMARY = f"{MessageType.QUERY}.statistics"
"""The type of a message that asks for the summary of a site's data."""


@dataclass(frozen=True)
class Hospital:
    """A site, the worker that trains for it, and the folder of its state between rounds.

    The state: BatchNorm statistics that stay at the site, what compression removed from the last update, and which
    model was tested.
    """

    site: Site
    worker: Worker
    settings: Settings
    folder: Path

    def train(self, message: Message) -> RecordDict:
        """Score the received model on the validation set, train it, and return both results."""
        model = model_of(message.content, self.worker.network.layout)
        training = training_of(message.content)
        start = self.model_after(model.trained_in, model.weights)
        tables = self._tables(start)
        trained = self.worker.train(self.site, start, training, model.round)
        if trained.model.kept.statistics.size:
            self._statistics.save(model.round, trained.model.kept.statistics)
        train = self.site.shard.train
        labelled = sum(example.oedema is not None for example in train)
        sends_loss = needs_loss(self.settings.strategy.name)
        loss = min(round(trained.loss, LOSS_DECIMALS), LARGEST_LOSS) if sends_loss else None
        weights = transformed(trained.model.weights, model.weights, transforms_of(self.settings))
        update = LocalUpdate(model.round, weights, len(train), labelled, loss, tables)
        return reply(update, self._compressed(weights, model, training.compression))

    def evaluate(self, message: Message) -> RecordDict:
        """Score the received model on the validation set, or on the test set with design effects."""
        model = model_of(message.content, self.worker.network.layout)
        site_model = self.model_after(model.trained_in, model.weights)
        is_test = split_of(message.content) == "test"
        tables = self._tested(site_model) if is_test else self._tables(site_model)
        return RecordDict({TABLES: arrays(tables)})

    def summary(self, message: Message) -> RecordDict:
        """Return the summary of the site's data. It does not depend on the content of the request."""
        return RecordDict({TABLES: arrays(summary(self.site, self.settings.outbound.min_patients))})

    def model_after(self, round: int, weights: Weights) -> SiteModel:
        """Return `weights` with the statistics that this site kept after `round`."""
        return SiteModel(weights, self._kept(round))

    def _tables(self, model: SiteModel) -> Tables:
        examples, fewest = self.site.shard.validation, self.settings.outbound.min_patients
        if len({example.patient for example in examples}) < fewest:
            return {}  # before any scoring, since an error there would reveal something about a photograph
        predictions = self.worker.predictions(self.site.images, model, examples)
        points = choose_operating_points(predictions, self.settings.evaluation)
        return table(predictions, call_referable(points, predictions), fewest)

    def _tested(self, model: SiteModel) -> Tables:
        """Test one model and refuse others: from several tests the server could select a model or infer labels."""
        weights, file = model.weights, self.folder / "tested"
        digest = hashlib.sha256(weights.parameters.tobytes() + weights.statistics.tobytes()).hexdigest()
        if file.exists() and file.read_text() != digest:
            raise DataError("message.split must be validation, got test for a second model. A run tests one model.")
        write_text(file, digest)
        tested = evaluate(self.worker, {self.site.name: self.site}, {"": {self.site.name: [model]}}, self.settings)
        predictions, called = tested.predictions[""][self.site.name], tested.called[""][self.site.name]
        tables = table(predictions, called, self.settings.outbound.min_patients)
        if not tables:
            return tables
        randomness = generator(self.settings.seed, self.site.name, purpose="design effects")
        effects = design_effects(predictions, called, self.settings.evaluation.replicates, randomness)
        return {**tables, DESIGN_EFFECTS: np.round([effects[name] for name in EFFECTS], EFFECT_DECIMALS)}

    def _compressed(self, weights: Weights, model: GlobalModel, compression: str) -> Mapping[str, NDArray[Any]]:
        """Return the parameters as sent. What compression removes is added to the next update (Seide et al. 2014)."""
        if compression == "none":
            return {PARAMETERS: weights.parameters}
        difference = weights.parameters - model.weights.parameters
        if (unsent := self._unsent.latest(model.trained_in)) is not None:
            difference += unsent
            self._unsent.drop_before(model.trained_in)
        sent = encode(difference, weights.layout, compression)
        self._unsent.save(model.round, difference - decode(sent, weights.layout))
        return sent

    def _kept(self, round: int) -> Weights:
        """Return the latest statistics that this site saved up to `round`, or the initial ones."""
        initial = self.worker.initial.kept
        statistics = self._statistics.latest(round) if initial.statistics.size else None
        return initial if statistics is None else replace(initial, statistics=statistics)

    @property
    def _statistics(self) -> RoundState:
        return RoundState(self.folder / "statistics")

    @property
    def _unsent(self) -> RoundState:
        return RoundState(self.folder / "unsent")


def client_app(hospital: Callable[[Context], Hospital]) -> ClientApp:
    """Return one Flower app for all hospitals of this process; `hospital` returns the hospital of a node."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _answer(message, lambda: hospital(context).train(message))

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return _answer(message, lambda: hospital(context).evaluate(message))

    @app.query("statistics")
    def summarise(message: Message, context: Context) -> Message:
        return _answer(message, lambda: hospital(context).summary(message))

    return app


def _answer(message: Message, act: Callable[[], RecordDict]) -> Message:
    """Return the reply, or only the class of an exception. Its text may contain a file name: only the site logs it."""
    try:
        return Message(act(), reply_to=message)
    except Exception as error:
        log.exception("a message of type %s failed", message.metadata.message_type)
        return Message(Error(FAILED, kind_of(error)), reply_to=message)
