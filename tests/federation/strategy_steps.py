"""Steps of a strategy on vectors of four parameters."""

from collections.abc import Callable

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.federation.strategies.registry import strategy_of
from teledx_fed.federation.strategies.strategy import State, Strategy

PLAIN = Layout((("head.weight", (4,)),), (("bn.running_var", (2,)),))


OEDEMA = Layout((("head.weight", (2,)), ("oedema.weight", (1,)), ("oedema.bias", (1,))), ())


def weights(numbers: list[float], layout: Layout = PLAIN, statistics: list[float] = [1, 1]) -> Weights:  # noqa: B006
    return Weights(np.float32(numbers), np.float32(statistics if layout is PLAIN else []), layout)


def update(numbers: list[float], examples: int, layout: Layout = PLAIN, oedema: int = 0, **rest: object) -> LocalUpdate:
    return LocalUpdate(1, weights(numbers, layout, **rest), examples, oedema, 0.5, {})  # type: ignore[arg-type]


def settings_for(make: Callable[..., Settings], name: str, **overrides: object) -> Settings:
    return make(strategy__name=name, federation__quorum=7, **overrides)


class Server:
    """A strategy with the weights and the state after its last step."""

    def __init__(self, settings: Settings, start: Weights, state: State | None = None) -> None:
        self.strategy: Strategy[object] = strategy_of(settings)
        self.weights, self.state = start, state or {}

    def step(self, updates: list[LocalUpdate], round: int = 1) -> Weights:
        accumulator = self.strategy.accumulator(GlobalModel(round, self.weights, round - 1))
        for site, sent in enumerate(updates):
            accumulator.add(str(site), sent)
        self.weights, self.state = self.strategy.step(self.state, accumulator.aggregate())
        return self.weights


def stepped(settings: Settings, start: Weights, updates: list[LocalUpdate]) -> Weights:
    return Server(settings, start).step(updates)


FAR_OFF = [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [-60, 80, -90, 70]]
"""Updates of six hospitals near to each other, and one far away."""
