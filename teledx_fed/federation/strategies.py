"""Flower's own strategies, each with the arrays that it must remember from round to round."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

from teledx_fed.federation.in_process import SampledGrid
from teledx_fed.federation.messages import CONFIG, PARAMETERS, values, vector
from teledx_fed.model.network import oedema_slice
from teledx_fed.records import LocalUpdate
from teledx_fed.settings import Settings
from teledx_fed.weights import Mean, Vector, Weights

logging.getLogger("flwr").setLevel(logging.WARNING)  # what it says of each round, the round's report says

EVERY_SAMPLED_NODE: Mapping[str, Any] = {
    "fraction_train": 1.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
    "arrayrecord_key": PARAMETERS,
    "configrecord_key": CONFIG,
    "weighted_by_key": "num-examples",
}

STRATEGIES: dict[str, Callable[[Settings], FedAvg]] = {
    "fedavg": lambda settings: FedAvg(**EVERY_SAMPLED_NODE),
    "fedprox": lambda settings: FedProx(**EVERY_SAMPLED_NODE, proximal_mu=settings.training.proximal_mu),
    "fedadam": lambda settings: FedAdam(
        **EVERY_SAMPLED_NODE,
        eta=settings.strategy.server_learning_rate,
        eta_l=settings.training.learning_rate,
        beta_1=settings.strategy.beta_1,
        beta_2=settings.strategy.beta_2,
        tau=settings.strategy.tau,
    ),
}

MEMORY = {"fedavg": (), "fedprox": (), "fedadam": ("m_t", "v_t")}
"""The attributes that a strategy carries from one round to the next; a checkpoint holds them."""

WEIGHTINGS: dict[str, Callable[[int], float]] = {
    "examples": float,
    "sqrt": lambda examples: float(np.sqrt(examples)),
    "equal": lambda examples: 1.0,
}


def remembered(strategy: FedAvg, name: str) -> dict[str, Vector]:
    return {key: value[PARAMETERS] for key in MEMORY[name] if (value := getattr(strategy, key)) is not None}


def remind(strategy: FedAvg, memory: Mapping[str, Vector]) -> None:
    for key, value in memory.items():
        setattr(strategy, key, {PARAMETERS: value})


def configure(
    strategy: FedAvg, round: int, start: Weights, config: ConfigRecord, nodes: Mapping[int, str]
) -> list[Message]:
    """The strategy's messages to the nodes that we sampled; its own sampling draws all of them."""
    arrays = vector(start.parameters, PARAMETERS)
    return list(strategy.configure_train(round, arrays, config, SampledGrid(nodes)))  # type: ignore[arg-type]


class Fold:
    """The accepted updates of a round as one reply, folded as they come, in any order.

    The mean is taken here, so that the oedema output can be averaged by labelled counts, and statistics plainly, under
    any averaging strategy.
    """

    def __init__(self, start: Weights, weighting: str) -> None:
        self._start, self._weigh = start, WEIGHTINGS[weighting]
        self._parameters, self._statistics = (Mean(size) for size in start.layout.sizes)
        self._oedema = oedema_slice(start.layout) or slice(0, 0)
        self._labelled = Mean(self._oedema.stop - self._oedema.start)
        self._loss = Mean(1)

    def add(self, update: LocalUpdate) -> None:
        by = self._weigh(update.examples)
        self._parameters.add(update.weights.parameters, by)
        self._statistics.add(update.weights.statistics, by)
        self._loss.add(np.array([update.train_loss], np.float32), by)
        if update.oedema_examples:
            self._labelled.add(update.weights.parameters[self._oedema], self._weigh(update.oedema_examples))

    def parameters(self) -> Vector:
        """By examples; the oedema output by labelled counts, so that a site without labels moves it by nothing."""
        found = self._parameters.value()
        found[self._oedema] = self._labelled.value() if self._labelled.by else self._start.parameters[self._oedema]
        return found

    def statistics(self) -> Vector:
        return self._statistics.value()

    def metrics(self) -> MetricRecord:
        return MetricRecord({"num-examples": self._parameters.by, "train_loss": float(self._loss.value()[0])})


def aggregate(strategy: FedAvg, round: int, fold: Fold, start: Weights, carrier: Message) -> Weights:
    """The next global weights: the strategy steps from the one reply that the round was folded into."""
    reply = RecordDict({PARAMETERS: vector(fold.parameters(), PARAMETERS), "metrics": fold.metrics()})
    arrays, _ = strategy.aggregate_train(round, [Message(reply, reply_to=carrier)])
    assert isinstance(arrays, ArrayRecord)
    stepped = values(arrays[PARAMETERS])
    return Weights(stepped.astype(np.float32, copy=False), fold.statistics(), start.layout)
