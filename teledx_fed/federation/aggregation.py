"""Aggregation of a round: the protocol, and plain aggregation, where the server receives each update.

Another aggregation can replace `PlainAggregation` without a change of the round loop. Secure aggregation, for example,
sends messages in several phases (keys, masked updates, survivors); its accumulator receives only the unmasked sum.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.federation import PLAIN_AGGREGATION
from teledx_fed.config.settings import Settings
from teledx_fed.core import extensions
from teledx_fed.core.files import make_folder
from teledx_fed.core.updates import GlobalModel, Tables
from teledx_fed.core.weights import Weights
from teledx_fed.federation import messages as wire
from teledx_fed.federation.replies import UpdateSpec, ValidUpdate, too_far, validate_update
from teledx_fed.federation.send_and_collect import Replies, send_and_collect
from teledx_fed.federation.strategies.strategy import Accumulator


@dataclass(frozen=True)
class RoundRequest:
    """Request to `nodes`, each with its site, in a round; `declared` is the number of photographs of each site.

    `norm_limits` are the largest distances of an update, of its parameters and statistics, from the model. `first`: no
    earlier round was valid, so this round's own updates limit them too.
    """

    model: GlobalModel
    nodes: Mapping[int, str]
    declared: Mapping[str, int]
    spec: UpdateSpec
    norm_limits: tuple[float, float]
    first: bool


@dataclass
class Collected:
    """Results of a round: accepted updates in `accumulator`, the tables of each site, the updates' distances."""

    accumulator: Accumulator[Any]
    tables: dict[str, Tables] = field(default_factory=dict)
    distances: list[tuple[float, float]] = field(default_factory=list)

    def add(self, site: str, valid: ValidUpdate) -> None:
        self.accumulator.add(site, valid.update)
        self.tables[site] = valid.update.tables
        self.distances.append(valid.distances)


class Aggregation(Protocol):
    """How the updates of a round reach its accumulator. One object serves all rounds of a run."""

    def run(
        self, grid: Grid, request: RoundRequest, collected: Collected, settings: Settings, scratch: Path
    ) -> Replies:
        """Send all messages of the round, and add the accepted updates to `collected`."""
        ...


class PlainAggregation:
    """One phase: each site sends its update, and the server validates and adds it."""

    def run(
        self, grid: Grid, request: RoundRequest, collected: Collected, settings: Settings, scratch: Path
    ) -> Replies:
        content = wire.train_request(request.model, settings.local_training(request.model.round))
        sent = [Message(content, dst_node_id=node, message_type=MessageType.TRAIN) for node in request.nodes]
        validate = partial(_validate, request)
        if not request.first:
            return send_and_collect(grid, sent, request.nodes, settings.federation, validate, collected.add)
        make_folder(scratch)
        with TemporaryDirectory(dir=scratch, prefix="first_round_") as folder:
            buffer = UpdateBuffer(Path(folder), request.model.weights)
            replies = send_and_collect(grid, sent, request.nodes, settings.federation, validate, buffer.add)
            refused = buffer.too_far(settings.federation.norm_multiple)
            for site, update in buffer.read():
                if site not in refused:
                    collected.add(site, update)
        return replies.without(refused)


def local_aggregation_of(settings: Settings) -> Aggregation:
    """Return the aggregation of a local run: plain, or from the entry points `teledx_fed.aggregations`."""
    name = settings.federation.aggregation
    if name == PLAIN_AGGREGATION:
        return PlainAggregation()
    aggregation: Aggregation = extensions.load(extensions.AGGREGATIONS, name)()
    return aggregation


def _validate(request: RoundRequest, site: str, content: RecordDict) -> ValidUpdate | str:
    spec = request.spec.of_site(request.declared[site])
    return validate_update(content, spec, request.model.weights, request.norm_limits)


@dataclass
class UpdateBuffer:
    """Buffer of updates, with weights as files in `folder`: memory does not grow with the number of sites."""

    folder: Path
    start: Weights
    _updates: dict[str, ValidUpdate] = field(default_factory=dict)

    def add(self, site: str, accepted: ValidUpdate) -> None:
        weights = accepted.update.weights
        np.save(self.folder / f"{len(self._updates)}.parameters.npy", weights.parameters)
        np.save(self.folder / f"{len(self._updates)}.statistics.npy", weights.statistics)
        self._updates[site] = replace(accepted, update=replace(accepted.update, weights=self.start))

    def too_far(self, multiple: float) -> dict[str, str]:
        """Return the reason for each site whose update moved by more than `multiple` times the median of all sites."""
        if not self._updates:
            return {}
        parameters, statistics = (median(norms) for norms in zip(*self._distances().values(), strict=True))
        limits = (multiple * parameters, multiple * statistics)
        reasons = {site: too_far(distances, limits) for site, distances in self._distances().items()}
        return {site: reason for site, reason in reasons.items() if reason is not None}

    def read(self) -> Iterator[tuple[str, ValidUpdate]]:
        """Yield each site with its update; one update is in memory at a time."""
        for number, (site, accepted) in enumerate(self._updates.items()):
            parameters = np.load(self.folder / f"{number}.parameters.npy")
            statistics = np.load(self.folder / f"{number}.statistics.npy")
            weights = Weights(parameters, statistics, self.start.layout)
            yield site, replace(accepted, update=replace(accepted.update, weights=weights))

    def _distances(self) -> dict[str, tuple[float, float]]:
        return {site: accepted.distances for site, accepted in self._updates.items()}
