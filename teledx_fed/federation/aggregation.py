"""Aggregation of a round: the protocol, and plain aggregation, where the server receives each update.

Another aggregation can replace `PlainAggregation` without a change of the round loop. Secure aggregation, for example,
sends messages in several phases (keys, masked updates, survivors); its accumulator receives only the unmasked sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.settings import Settings
from teledx_fed.core.files import make_folder
from teledx_fed.core.updates import GlobalModel, Tables
from teledx_fed.federation import messages as wire
from teledx_fed.federation.first_round import UpdateBuffer
from teledx_fed.federation.send_and_collect import Replies, send_and_collect
from teledx_fed.federation.strategies.strategy import Accumulator
from teledx_fed.federation.validation import UpdateSpec, ValidUpdate, validate_update


@dataclass(frozen=True)
class RoundRequest:
    """Request to `nodes`, each with its site, in a round; `declared` is the number of photographs of each site.

    `first`: no earlier round was valid, so the limit of distances is computed from this round's own updates.
    """

    model: GlobalModel
    nodes: Mapping[int, str]
    declared: Mapping[str, int]
    spec: UpdateSpec
    first: bool


@dataclass
class Collected:
    """Results of a round: accepted updates in `accumulator`, and the score tables and distances of each site."""

    accumulator: Accumulator[Any]
    tables: dict[str, Tables] = field(default_factory=dict)
    moved: list[tuple[float, float]] = field(default_factory=list)

    def add(self, site: str, valid: ValidUpdate) -> None:
        self.accumulator.add(site, valid.update)
        self.tables[site] = valid.update.tables
        self.moved.append(valid.moved)


class Aggregation(Protocol):
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
            return send_and_collect(grid, sent, request.nodes, settings, validate, collected.add)
        make_folder(scratch)
        with TemporaryDirectory(dir=scratch, prefix="first_round_") as folder:
            buffer = UpdateBuffer(Path(folder), request.model.weights)
            replies = send_and_collect(grid, sent, request.nodes, settings, validate, buffer.add)
            refused = buffer.too_far(settings.federation.norm_multiple)
            for site, update in buffer.read():
                if site not in refused:
                    collected.add(site, update)
        return replies.without(refused)


def _validate(request: RoundRequest, site: str, content: RecordDict) -> ValidUpdate | str:
    return validate_update(content, replace(request.spec, max_examples=request.declared[site]))
