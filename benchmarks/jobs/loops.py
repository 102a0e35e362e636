"""Training loops that a peer's runtime runs at a site: that of its own examples, ours, or none."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmarks.jobs import inside, quickstart


@dataclass(frozen=True)
class Loop:
    """A loop. `train` takes a network and the numbers of site and round, and returns the loss; `test` the accuracy."""

    network: Callable[[], nn.Module]
    train: Callable[[nn.Module, int, int], float]
    test: Callable[[nn.Module, int], float]


LOOPS = {
    "own": Loop(quickstart.Net, quickstart.train, quickstart.test),
    "inside": Loop(inside.network, inside.train, inside.test),
    "idle": Loop(quickstart.Net, lambda net, number, round: 0.0, lambda net, number: 0.0),
}
