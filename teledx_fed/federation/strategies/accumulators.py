"""Accumulators of the accepted updates of a round: their weighted mean, or all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Mean, Weights

WEIGHTINGS: dict[str, Callable[[int], float]] = {
    "examples": float,
    "sqrt": lambda examples: float(np.sqrt(examples)),
    "equal": lambda examples: 1.0,
}


@dataclass(frozen=True)
class MeanUpdate:
    """The weighted mean of the accepted updates, and the model that they started from."""

    start: GlobalModel
    weights: Weights


@dataclass(frozen=True)
class Updates:
    """All accepted updates, sorted by site, and the model that they started from."""

    start: GlobalModel
    updates: Sequence[LocalUpdate]


class MeanAccumulator:
    """Running weighted mean of updates: memory does not grow with their number.

    Parameters and BatchNorm statistics are weighted by examples, the oedema output by labelled examples: a site
    without labels does not change it.
    """

    def __init__(self, start: GlobalModel, weighting: str) -> None:
        layout = start.weights.layout
        self._start, self._weigh = start, WEIGHTINGS[weighting]
        self._parameters, self._statistics = (Mean(size) for size in layout.sizes)
        self._oedema = layout.span("oedema.")
        self._labelled = Mean(self._oedema.stop - self._oedema.start)

    def add(self, site: str, update: LocalUpdate) -> None:
        by = self._weigh(update.examples)
        self._parameters.add(update.weights.parameters, by)
        self._statistics.add(update.weights.statistics, by)
        if update.oedema_examples:
            self._labelled.add(update.weights.parameters[self._oedema], self._weigh(update.oedema_examples))

    def aggregate(self) -> MeanUpdate:
        start, parameters = self._start.weights, self._parameters.value()
        parameters[self._oedema] = self._labelled.value() if self._labelled.by else start.parameters[self._oedema]
        return MeanUpdate(self._start, Weights(parameters, self._statistics.value(), start.layout))


class ReplyBuffer:
    """Buffer of all updates until the round ends."""

    def __init__(self, start: GlobalModel) -> None:
        self._start, self._updates = start, dict[str, LocalUpdate]()

    def add(self, site: str, update: LocalUpdate) -> None:
        self._updates[site] = update

    def aggregate(self) -> Updates:
        """Return the updates sorted by site: results are bit-identical for any order of replies."""
        return Updates(self._start, [update for _, update in sorted(self._updates.items())])
