"""Adaptive optimisers on the server: FedAdam, FedYogi and FedAdagrad (Reddi et al. 2021, algorithm 2).

Δ, the mean update minus the start x, is the negative gradient. m accumulates Δ, and v accumulates Δ². The next weights
are x + η m ÷ (√v + τ). The step changes only parameters; BatchNorm statistics are averaged. Results are bit-identical
to those of Flower's strategies, as the tests check.
"""

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.weights import Vector, Weights
from teledx_fed.federation.strategies.averaging import FedAvg
from teledx_fed.federation.strategies.strategy import MeanUpdate, State


class Adaptive(FedAvg):
    """Base of the three optimisers, which define `second_moment`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.eta, self.tau = settings.strategy.server_learning_rate, settings.strategy.tau
        self.beta_1, self.beta_2 = settings.strategy.beta_1, settings.strategy.beta_2

    @abstractmethod
    def second_moment(self, v: Vector, squared: Vector) -> Vector:
        """Return the next v (n,), from the last v (n,) and Δ² (n,)."""

    def rate(self, round: int) -> float:
        return self.eta

    def step(self, state: State, aggregate: MeanUpdate) -> tuple[Weights, State]:
        x = aggregate.start.weights.parameters
        delta, zero = aggregate.weights.parameters - x, np.zeros_like(x)
        m = self.beta_1 * state.get("m_t", zero) + (1 - self.beta_1) * delta
        v = self.second_moment(state.get("v_t", zero), delta**2)
        stepped = x + self.rate(aggregate.start.round) * m / (np.sqrt(v) + self.tau)
        return replace(aggregate.weights, parameters=stepped.astype(np.float32, copy=False)), {"m_t": m, "v_t": v}


class FedAdam(Adaptive):
    """Adam, with the bias correction of Kingma and Ba 2014 in its learning rate."""

    def second_moment(self, v: Vector, squared: Vector) -> Vector:
        return self.beta_2 * v + (1 - self.beta_2) * squared

    def rate(self, round: int) -> float:
        corrected = np.sqrt(1 - np.power(self.beta_2, round + 1.0)) / (1 - np.power(self.beta_1, round + 1.0))
        return self.eta * corrected


class FedYogi(Adaptive):
    """Yogi: v grows by at most (1 − β₂) Δ², so it grows more slowly where updates are sparse."""

    def second_moment(self, v: Vector, squared: Vector) -> Vector:
        return v - (1.0 - self.beta_2) * squared * np.sign(v - squared)


class FedAdagrad(Adaptive):
    """Adagrad: v is the sum of all Δ², so the rate of each weight never grows. It has no momentum."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.beta_1 = 0.0

    def second_moment(self, v: Vector, squared: Vector) -> Vector:
        return v + squared
