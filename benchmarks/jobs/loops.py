"""What a peer's runtime is given to run at a site: the loop of its own examples, ours in its place, or none."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmarks.jobs import inside, quickstart


@dataclass(frozen=True)
class Loop:
    """`train` takes a network, the number of a site and of the round and returns the loss; `test` the accuracy."""

    network: Callable[[], nn.Module]
    train: Callable[[nn.Module, int, int], float]
    test: Callable[[nn.Module, int], float]


LOOPS = {
    "own": Loop(quickstart.Net, quickstart.train, quickstart.test),
    "inside": Loop(inside.network, inside.train, inside.test),
    "idle": Loop(quickstart.Net, lambda net, number, round: 0.0, lambda net, number: 0.0),
}
