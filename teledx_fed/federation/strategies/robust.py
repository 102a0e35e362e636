"""Byzantine-robust aggregation: up to `strategy.faulty` clients cannot determine the result.

All updates have equal weight, because a client can forge its count of examples. Flower's strategies get the differences
from the global model: Krum's float32 distances lose precision on absolute weights.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from flwr.serverapp import strategy as flower

from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import Vector, Weights
from teledx_fed.federation.strategies.flower import aggregate_with
from teledx_fed.federation.strategies.strategy import Accumulator, ReplyBuffer, State, Strategy, Updates


class Robust(Strategy[Updates]):
    """Base of robust strategies, which define `combine`. The result has the median of BatchNorm statistics."""

    def __init__(self, settings: Settings) -> None:
        self.faulty = settings.strategy.faulty

    @property
    def max_byzantine(self) -> int:
        return self.faulty

    @abstractmethod
    def needed_replies(self, faulty: int) -> int: ...

    def tolerated(self, replies: int) -> int:
        """Return how many Byzantine clients it tolerates among `replies` replies, at most `strategy.faulty`."""
        enough = (faulty for faulty in range(self.faulty, 0, -1) if self.needed_replies(faulty) <= replies)
        return next(enough, 0)

    @abstractmethod
    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        """Return one difference (n,) from those (n,) of all clients."""

    def accumulator(self, start: GlobalModel) -> Accumulator[Updates]:
        return ReplyBuffer(start)

    def step(self, state: State, aggregate: Updates) -> tuple[Weights, State]:
        start, updates = aggregate.start.weights, aggregate.updates
        differences = [update.weights.parameters - start.parameters for update in updates]
        parameters = self.combine(differences, self.tolerated(len(updates))) + start.parameters
        statistics = np.median([update.weights.statistics for update in updates], axis=0)
        return Weights(parameters.astype(np.float32), statistics.astype(np.float32), start.layout), {}


class FedMedian(Robust):
    """Coordinate-wise median (Yin et al. 2018, definition 1)."""

    def needed_replies(self, faulty: int) -> int:
        return 2 * faulty + 1

    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        return aggregate_with(flower.FedMedian(), differences)


class FedTrimmedAvg(Robust):
    """Coordinate-wise mean without the `faulty` highest and lowest values (Yin et al. 2018, definition 2)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        must(
            self.faulty > 0,
            "strategy.faulty",
            "be 1 or more with fedtrimmedavg",
            self.faulty,
            "Nothing trimmed is a mean: say strategy=fedavg.",
        )

    def needed_replies(self, faulty: int) -> int:
        return 2 * faulty + 1

    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        """Trim `faulty` values at each end. Flower trims int(β · replies); 0.25 keeps rounding from giving one less."""
        beta = (faulty + 0.25) / len(differences)
        return aggregate_with(flower.FedTrimmedAvg(beta=beta), differences)


class Krum(Robust):
    """The one update that is nearest to the others (Blanchard et al. 2017)."""

    def needed_replies(self, faulty: int) -> int:
        return 2 * faulty + 3

    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        return aggregate_with(flower.Krum(num_malicious_nodes=faulty), differences)


class MultiKrum(Krum):
    """The mean of all but `faulty` updates, those nearest to the others (Blanchard et al. 2017)."""

    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        chosen = len(differences) - faulty
        return aggregate_with(flower.MultiKrum(num_malicious_nodes=faulty, num_nodes_to_select=chosen), differences)


class Bulyan(Robust):
    """Per weight, the mean of values nearest to the median, among MultiKrum's selection (El Mhamdi et al. 2018)."""

    def needed_replies(self, faulty: int) -> int:
        return 4 * faulty + 3

    def combine(self, differences: Sequence[Vector], faulty: int) -> Vector:
        return aggregate_with(flower.Bulyan(num_malicious_nodes=faulty), differences)
