"""What travels between the server and a site in a round."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.weights import Weights


@dataclass(frozen=True)
class LocalTraining:
    """What the server asks of a site for one round: flat scalars, one ConfigRecord."""

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
    """Goes down: the weights that round `round` starts from, `trained_in` an earlier one."""

    round: int
    weights: Weights
    trained_in: int


Tables = Mapping[str, NDArray[np.float64]]
"""Named arrays of counts and sums of one site; the only form in which an evaluation leaves it."""


@dataclass(frozen=True)
class LocalUpdate:
    """Goes up: what a site learned in a round, and how the model that it was sent did on its validation set.

    `train_loss` is None except under q-FedAvg, which weighs by it.
    """

    round: int
    weights: Weights
    examples: int
    oedema_examples: int
    train_loss: float | None
    tables: Tables
