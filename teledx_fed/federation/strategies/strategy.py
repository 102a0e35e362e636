"""The base class of a strategy: which updates it needs, how they are gathered, and the step of the server."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, Protocol, TypeVar

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Vector, Weights

State = Mapping[str, Vector]
"""What a strategy keeps from one round to the next, by name. The checkpoint holds it."""

Aggregate = TypeVar("Aggregate")
Gathered = TypeVar("Gathered", covariant=True)


class Accumulator(Protocol[Gathered]):
    """Gathers the accepted updates of a round, in any order."""

    def add(self, site: str, update: LocalUpdate) -> None: ...

    def aggregate(self) -> Gathered: ...


class Strategy(ABC, Generic[Aggregate]):
    """Construct it from the settings of a run; its own checks of them belong in `__init__`.

    `averages_oedema`: it averages the oedema output by labelled counts, so sites without labels do not count.
    `needs_loss`: sites send their training loss. Grades can be decoded from it, so only a built-in strategy may ask.
    """

    averages_oedema: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, settings: Settings) -> None: ...

    @property
    def max_byzantine(self) -> int:
        """How many Byzantine clients it tolerates; 0 where it is not robust."""
        return 0

    def needed_replies(self, faulty: int) -> int:
        """Return how many replies it needs so that `faulty` Byzantine ones cannot decide the result."""
        return 1

    @abstractmethod
    def accumulator(self, start: GlobalModel) -> Accumulator[Aggregate]:
        """Return an empty accumulator for the updates of the round that starts from `start`."""

    @abstractmethod
    def step(self, state: State, aggregate: Aggregate) -> tuple[Weights, State]:
        """Return the next global weights, and the state after the step. `state` is empty in the first round."""
