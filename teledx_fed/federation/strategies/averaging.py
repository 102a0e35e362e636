"""Strategies that take the mean of the updates: FedAvg, FedProx, and FedAvgM, which adds momentum on the server."""

from dataclasses import replace

from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import Weights
from teledx_fed.federation.strategies.strategy import Accumulator, MeanAccumulator, MeanUpdate, State, Strategy


class FedAvg(Strategy[MeanUpdate]):
    """FedAvg (McMahan et al. 2017): the next weights are the mean of the updates, by `strategy.weighting`."""

    averages_oedema = True

    def __init__(self, settings: Settings) -> None:
        self.weighting = settings.strategy.weighting

    def accumulator(self, start: GlobalModel) -> Accumulator[MeanUpdate]:
        return MeanAccumulator(start, self.weighting)

    def step(self, state: State, aggregate: MeanUpdate) -> tuple[Weights, State]:
        return aggregate.weights, {}


class FedProx(FedAvg):
    """FedProx (Li et al. 2020): the sites add a proximal term to their loss; the server's step is that of FedAvg."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        must(
            settings.training.proximal_mu > 0,
            "training.proximal_mu",
            "be positive with fedprox",
            settings.training.proximal_mu,
            "At 0 it is fedavg: say strategy=fedavg, or training.proximal_mu=0.01.",
        )


class FedAvgM(FedAvg):
    """FedAvgM (Hsu et al. 2019): SGD with momentum on the server; the mean update is the negative gradient."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.learning_rate, self.momentum = settings.strategy.server_learning_rate, settings.strategy.momentum

    def step(self, state: State, aggregate: MeanUpdate) -> tuple[Weights, State]:
        if self.momentum == 0 and self.learning_rate == 1:
            return aggregate.weights, {}
        start = aggregate.start.weights.parameters
        velocity = start - aggregate.weights.parameters
        if "momentum_vector" in state:
            velocity = self.momentum * state["momentum_vector"] + velocity
        parameters = start - self.learning_rate * velocity
        return replace(aggregate.weights, parameters=parameters), {"momentum_vector": velocity} if self.momentum else {}
