"""The accepted updates of a round on their way to the strategy: as one mean, or each of them."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from flwr.app import MetricRecord, RecordDict

from teledx_fed.core.updates import LocalUpdate
from teledx_fed.core.weights import Mean, Vector, Weights, mean
from teledx_fed.federation.messages import LOSS_DECIMALS, PARAMETERS, vector
from teledx_fed.model.network import oedema_slice

LEAST_LOSS = 10**-LOSS_DECIMALS / 2
"""What a loss that was rounded to 0 may have been; q-FedAvg divides by it."""

WEIGHTINGS: dict[str, Callable[[int], float]] = {
    "examples": float,
    "sqrt": lambda examples: float(np.sqrt(examples)),
    "equal": lambda examples: 1.0,
}


class Folding(Protocol):
    """Takes updates as they come, in any order, and gives what the strategy is to see of them."""

    def add(self, site: str, update: LocalUpdate) -> None: ...

    def replies(self) -> Sequence[RecordDict]: ...

    def statistics(self) -> Vector: ...


class Fold:
    """All updates as one reply, folded as they come: memory does not grow with their number.

    The mean is taken here, so that the oedema output can be averaged by labelled counts, and statistics plainly, under
    any averaging strategy.
    """

    def __init__(self, start: Weights, weighting: str) -> None:
        self._start, self._weigh = start, WEIGHTINGS[weighting]
        self._parameters, self._statistics = (Mean(size) for size in start.layout.sizes)
        self._oedema = oedema_slice(start.layout) or slice(0, 0)
        self._labelled = Mean(self._oedema.stop - self._oedema.start)

    def add(self, site: str, update: LocalUpdate) -> None:
        by = self._weigh(update.examples)
        self._parameters.add(update.weights.parameters, by)
        self._statistics.add(update.weights.statistics, by)
        if update.oedema_examples:
            self._labelled.add(update.weights.parameters[self._oedema], self._weigh(update.oedema_examples))

    def parameters(self) -> Vector:
        """By examples; the oedema output by labelled counts, so that a site without labels moves it by nothing."""
        found = self._parameters.value()
        found[self._oedema] = self._labelled.value() if self._labelled.by else self._start.parameters[self._oedema]
        return found

    def replies(self) -> Sequence[RecordDict]:
        return [_reply(self.parameters(), self._parameters.by, None)]

    def statistics(self) -> Vector:
        return self._statistics.value()


class Held:
    """Every update as a reply of its own, all of them held until the round ends; `present` makes one of its weights.

    All weigh alike: a count is as easily forged as a weight, and q-FedAvg's weights are losses.
    """

    def __init__(self, present: Callable[[Weights], Vector], robust: bool) -> None:
        self._present, self._robust = present, robust
        self._updates: dict[str, LocalUpdate] = {}

    def add(self, site: str, update: LocalUpdate) -> None:
        self._updates[site] = update

    def replies(self) -> Sequence[RecordDict]:
        """By site, so that sums are the same in any order of replies."""
        return [_reply(self._present(update.weights), 1.0, update.train_loss) for update in self._sorted()]

    def statistics(self) -> Vector:
        """Their median by coordinate where one site must not move them far, else their mean."""
        statistics = [update.weights.statistics for update in self._sorted()]
        if self._robust:
            return np.asarray(np.median(statistics, axis=0), dtype=np.float32)
        return mean(statistics, [1] * len(statistics))

    def _sorted(self) -> list[LocalUpdate]:
        return [update for _, update in sorted(self._updates.items())]


def _reply(parameters: Vector, weight: float, loss: float | None) -> RecordDict:
    metrics: dict[str, int | float | list[int] | list[float]] = {"num-examples": weight}
    if loss is not None:
        metrics["train_loss"] = max(loss, LEAST_LOSS)
    return RecordDict({PARAMETERS: vector(parameters, PARAMETERS), "metrics": MetricRecord(metrics)})
