"""Fair aggregation: q-FedAvg, which gives more weight to a hospital with a higher loss."""

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import Weights, mean
from teledx_fed.federation.messages import LOSS_DECIMALS
from teledx_fed.federation.strategies.strategy import Accumulator, ReplyBuffer, State, Strategy, Updates

LEAST_LOSS = 10**-LOSS_DECIMALS / 2
"""The largest loss that is rounded to 0. It replaces 0, because q-FedAvg divides by powers of the loss."""
OFFSET = 1e-10
"""The constant that Flower adds to every loss."""


class QFedAvg(Strategy[Updates]):
    """q-FedAvg (Li et al. 2020, algorithm 2): w − Σ F^q Δ ÷ Σ (q F^(q−1) ‖Δ‖² + L F^q), where Δ is L (w − w_k).

    The weight of a hospital depends only on its loss F. Results are bit-identical to Flower's, as the tests check.
    """

    needs_loss = True

    def __init__(self, settings: Settings) -> None:
        self.q = settings.strategy.q
        self.lipschitz = 1 / (1 / settings.strategy.lipschitz)  # the same rounding as in Flower

    def accumulator(self, start: GlobalModel) -> Accumulator[Updates]:
        return ReplyBuffer(start)

    def step(self, state: State, aggregate: Updates) -> tuple[Weights, State]:
        start, updates = aggregate.start.weights, aggregate.updates
        total, divisor = np.zeros_like(start.parameters), 0.0
        for update in updates:
            assert update.train_loss is not None
            loss = max(update.train_loss, LEAST_LOSS) + OFFSET
            gradient = (start.parameters - update.weights.parameters) * self.lipschitz
            weight = np.float_power(loss, self.q)
            squared = float(np.sum(np.square(gradient)))
            divisor += self.q * np.float_power(loss, self.q - 1) * squared + self.lipschitz * weight
            total += (gradient * weight).astype(np.float32)
        parameters = (start.parameters - total / divisor).astype(np.float32)
        statistics = mean([update.weights.statistics for update in updates], [1] * len(updates))
        return Weights(parameters, statistics, start.layout), {}
