"""Base class of a strategy: how it accumulates updates, and how the server computes the next weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, Protocol, TypeVar

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Vector, Weights

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
