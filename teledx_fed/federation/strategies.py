"""Flower's own strategies: what each sees of a round, what it remembers, and how many faulty sites it bears."""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
)

from teledx_fed.config.federation import StrategySettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.weights import Vector, Weights
from teledx_fed.federation.folding import Fold, Folding, Held
from teledx_fed.federation.in_process import SampledGrid
from teledx_fed.federation.messages import CONFIG, PARAMETERS, values, vector

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
    "fedavgm": lambda settings: FedAvgM(
        **EVERY_SAMPLED_NODE,
        server_learning_rate=settings.strategy.server_learning_rate,
        server_momentum=settings.strategy.momentum,
    ),
    "fedadam": lambda settings: FedAdam(**EVERY_SAMPLED_NODE, **_step(settings), **_moments(settings)),
    "fedyogi": lambda settings: FedYogi(**EVERY_SAMPLED_NODE, **_step(settings), **_moments(settings)),
    "fedadagrad": lambda settings: FedAdagrad(**EVERY_SAMPLED_NODE, **_step(settings)),
    "fedmedian": lambda settings: FedMedian(**EVERY_SAMPLED_NODE),
    "fedtrimmedavg": lambda settings: FedTrimmedAvg(**EVERY_SAMPLED_NODE),
    "krum": lambda settings: Krum(**EVERY_SAMPLED_NODE),
    "multikrum": lambda settings: MultiKrum(**EVERY_SAMPLED_NODE),
    "bulyan": lambda settings: Bulyan(**EVERY_SAMPLED_NODE),
    "qfedavg": lambda settings: QFedAvg(
        **EVERY_SAMPLED_NODE, q=settings.strategy.q, client_learning_rate=1 / settings.strategy.lipschitz
    ),
}

MEMORY: Mapping[str, tuple[str, ...]] = {
    "fedavgm": ("momentum_vector",),
    "fedadam": ("m_t", "v_t"),
    "fedyogi": ("m_t", "v_t"),
    "fedadagrad": ("m_t", "v_t"),
}
"""The attributes that a strategy carries from one round to the next; a checkpoint holds them."""

BEARING: Mapping[str, Callable[[int, int], Mapping[str, float]]] = {
    "fedmedian": lambda replies, faulty: {},
    "fedtrimmedavg": lambda replies, faulty: {"beta": (faulty + 0.25) / replies},  # int(beta · replies) is faulty
    "krum": lambda replies, faulty: {"num_malicious_nodes": faulty},
    "multikrum": lambda replies, faulty: {
        "num_malicious_nodes": faulty,
        "num_nodes_to_select": replies - faulty,
    },
    "bulyan": lambda replies, faulty: {"num_malicious_nodes": faulty},
}
"""What a robust strategy is told in each round. It sees every difference from the global model: Krum's distances drown
in float32 on absolute weights."""


def _step(settings: Settings) -> dict[str, Any]:
    asked = settings.strategy
    return {"eta": asked.server_learning_rate, "eta_l": settings.training.learning_rate, "tau": asked.tau}


def _moments(settings: Settings) -> dict[str, Any]:
    return {"beta_1": settings.strategy.beta_1, "beta_2": settings.strategy.beta_2}


def remembered(strategy: FedAvg, name: str) -> dict[str, Vector]:
    """Flower holds a vector by the name of its array, or in a list."""
    held = {key: getattr(strategy, key) for key in MEMORY.get(name, ())}
    return {key: v[PARAMETERS] if isinstance(v, dict) else v[0] for key, v in held.items() if v is not None}


def remind(strategy: FedAvg, memory: Mapping[str, Vector]) -> None:
    for key, value in memory.items():
        setattr(strategy, key, [value] if key == "momentum_vector" else {PARAMETERS: value})


def configure(
    strategy: FedAvg, round: int, start: Weights, config: ConfigRecord, nodes: Mapping[int, str]
) -> list[Message]:
    """The strategy's messages to the nodes that we sampled; its own sampling draws all of them."""
    arrays = vector(start.parameters, PARAMETERS)
    return list(strategy.configure_train(round, arrays, config, SampledGrid(nodes)))  # type: ignore[arg-type]


def folding(start: Weights, settings: Settings) -> Folding:
    """What the accepted updates of a round are gathered in."""
    name = settings.strategy.name
    if name in BEARING:
        return Held(lambda weights: weights.parameters - start.parameters, robust=True)
    if name == "qfedavg":
        return Held(lambda weights: weights.parameters, robust=False)
    return Fold(start, settings.strategy.weighting)


@contextmanager
def _little_to_collect() -> Iterator[None]:
    """Some strategies of Flower collect garbage once a reply, which walks through all that torch and timm hold."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def aggregate(
    strategy: FedAvg, round: int, fold: Folding, start: Weights, carrier: Message, settings: StrategySettings
) -> Weights:
    """The next global weights, out of replies that are Flower's to consume."""
    replies = [Message(reply, reply_to=carrier) for reply in fold.replies()]
    robust = settings.name in BEARING
    if robust:
        faulty = settings.bears(len(replies))
        for key, value in BEARING[settings.name](len(replies), faulty).items():
            setattr(strategy, key, value)
    with _little_to_collect():
        arrays, _ = strategy.aggregate_train(round, replies)
    assert isinstance(arrays, ArrayRecord)
    stepped = values(arrays[PARAMETERS]) + (start.parameters if robust else np.float32(0))
    return Weights(stepped.astype(np.float32, copy=False), fold.statistics(), start.layout)
