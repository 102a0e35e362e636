"""Messages between the server and a site in a round."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.weights import Weights


@dataclass(frozen=True)
class LocalTraining:
    """Settings of a site's training in one round, from the server: flat scalars, one ConfigRecord."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    class_balance: str
    label_smoothing: float
    proximal_mu: float
    clip_norm: float
    augment: bool
    views: int
    mixed_precision: bool
    compression: str
    seed: int


@dataclass(frozen=True)
class GlobalModel:
    """Server to site: the weights that round `round` starts from, from the earlier round `trained_in`."""

    round: int
    weights: Weights
    trained_in: int


Tables = Mapping[str, NDArray[np.float64]]
"""Named arrays of counts and sums of one site: the only results of an evaluation that leave it."""


@dataclass(frozen=True)
class LocalUpdate:
    """Site to server: the site's weights after training, and the received model's tables on its validation set.

    `train_loss` is None except under q-FedAvg, which weights sites by it.
    """

    round: int
    weights: Weights
    examples: int
    oedema_examples: int
    train_loss: float | None
    tables: Tables
