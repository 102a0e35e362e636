"""Base class of a strategy: how it accumulates updates, and how the server computes the next weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Mean, Vector, Weights

State = Mapping[str, Vector]
"""State of a strategy between rounds, by name. The checkpoint holds it."""

Aggregate = TypeVar("Aggregate")
Gathered = TypeVar("Gathered", covariant=True)


class Accumulator(Protocol[Gathered]):
    """Accumulator of the accepted updates of a round, in any order."""

    def add(self, site: str, update: LocalUpdate) -> None: ...

    def aggregate(self) -> Gathered: ...


class Strategy(ABC, Generic[Aggregate]):
    """Base class of a strategy. `__init__` takes the settings of a run, and checks those that it uses.

    `averages_oedema`: it averages the oedema output by labelled counts, so sites without labels do not count.
    `needs_loss`: sites send their training loss. It can reveal grades, so only a built-in strategy may need it.
    """

    averages_oedema: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, settings: Settings) -> None: ...

    @property
    def max_byzantine(self) -> int:
        """Number of Byzantine clients that it tolerates; 0 if it is not robust."""
        return 0

    def needed_replies(self, faulty: int) -> int:
        """Return how many replies it needs so that `faulty` Byzantine clients cannot determine the result."""
        return 1

    @abstractmethod
    def accumulator(self, start: GlobalModel) -> Accumulator[Aggregate]:
        """Return an empty accumulator for the updates of the round that starts from `start`."""

    @abstractmethod
    def step(self, state: State, aggregate: Aggregate) -> tuple[Weights, State]:
        """Return the next global weights, and the state after the step. `state` is empty in the first round."""


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
