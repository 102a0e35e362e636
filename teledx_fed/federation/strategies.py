"""Flower's own strategies, each with the arrays that it must remember from round to round."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx
from numpy.typing import NDArray

from teledx_fed.federation.in_process import SampledGrid
from teledx_fed.federation.messages import CONFIG, PARAMETERS, vector
from teledx_fed.model.network import oedema_slice
from teledx_fed.records import LocalUpdate
from teledx_fed.settings import Settings
from teledx_fed.weights import Vector, Weights, mean

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


def aggregate(
    strategy: FedAvg,
    round: int,
    updates: Sequence[LocalUpdate],
    weighting: str,
    start: Weights,
    carrier: Message,
) -> Weights:
    """The next global weights.

    The mean is folded here, in float64 and in the order of the sites, and the strategy steps from that one reply; so
    the oedema output can be averaged by labelled counts, and statistics plainly, under any averaging strategy.
    """
    by = [WEIGHTINGS[weighting](update.examples) for update in updates]
    parameters = mean([update.weights.parameters for update in updates], by)
    if (oedema := oedema_slice(start.layout)) is not None:
        parameters[oedema] = _labelled_mean(updates, oedema, weighting, start)
    reply = RecordDict(
        {
            PARAMETERS: vector(parameters, PARAMETERS),
            "metrics": MetricRecord({"num-examples": float(sum(by)), "train_loss": _loss(updates, by)}),
        }
    )
    arrays, _ = strategy.aggregate_train(round, [Message(reply, reply_to=carrier)])
    assert isinstance(arrays, ArrayRecord)
    stepped: NDArray[Any] = arrays[PARAMETERS].numpy()
    statistics = mean([update.weights.statistics for update in updates], by)
    return Weights(stepped.astype(np.float32, copy=False), statistics, start.layout)


def _labelled_mean(updates: Sequence[LocalUpdate], oedema: slice, weighting: str, start: Weights) -> Vector:
    """By labelled counts: a site without oedema labels moves this output by exactly nothing."""
    labelled = [update for update in updates if update.oedema_examples]
    if not labelled:
        return start.parameters[oedema]
    by = [WEIGHTINGS[weighting](update.oedema_examples) for update in labelled]
    return mean([update.weights.parameters[oedema] for update in labelled], by)


def _loss(updates: Sequence[LocalUpdate], by: Sequence[float]) -> float:
    return float(np.average([update.train_loss for update in updates], weights=by))
