"""Simulated faults: the seed determines which site fails in which round, and how."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
from flwr.app import Error, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.federation import FaultSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.examples import GRADES, Example, Site
from teledx_fed.core.randomness import generator
from teledx_fed.core.weights import Vector
from teledx_fed.federation.flower import NodeInfo
from teledx_fed.federation.in_process import CRASHED, AnsweringGrid
from teledx_fed.federation.messages import CONFIG, METRICS, PARAMETERS, values, vector

log = logging.getLogger(__name__)


def fault(site: str, round: int, seed: int, faults: FaultSettings) -> str | None:
    """Return the kind of fault of a site in a round, or None; a repeated round has the same fault."""
    drawn = generator(seed, site, round, "fault")
    honest = drawn.random() >= faults.share or not faults.concerns(site, round)
    return None if honest else str(drawn.choice(faults.kinds))


def check_sites(faults: FaultSettings, sites: Iterable[str]) -> None:
    """Raise a `ConfigurationError` for an unknown site, or for little_is_enough with fewer than two honest sites."""
    names, faulty = set(sites), set(faults.sites)
    if unknown := faulty - names:
        raise ConfigurationError(f"faults.sites must name hospitals among {sorted(names)}, got {sorted(unknown)}.")
    honest = names - faulty if faulty else set()
    if "little_is_enough" in faults.kinds and faults.share == 1 and len(honest) < 2:
        raise ConfigurationError(
            f"faults.sites must leave two hospitals honest, in whose spread little_is_enough hides, got "
            f"{sorted(faulty) or 'all'} of {sorted(names)}. Name fewer."
        )


def with_flipped_labels(site: Site) -> Site:
    """Return the site with reversed training labels: grade g becomes 4 − g, and oedema is negated."""
    return replace(site, shard=replace(site.shard, train=tuple(_flipped(example) for example in site.shard.train)))


def _flipped(example: Example) -> Example:
    oedema = None if example.oedema is None else not example.oedema
    return replace(example, grade=GRADES - 1 - example.grade, oedema=oedema)


class FaultyGrid(AnsweringGrid):
    """A grid with simulated faults in training; `flipped` is the same grid with flipped training labels.

    A site that straggles or drops out stays silent as after the deadline, but the server does not wait. A site that
    crashes saves no state of the round.
    """

    def __init__(self, grid: Grid, flipped: Grid, settings: Settings) -> None:
        self._grid, self._flipped, self._settings = grid, flipped, settings

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return self._grid.get_nodes()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        sent = list(messages)
        kinds = {message.metadata.dst_node_id: self._fault(message) for message in sent}
        requests = {message.metadata.dst_node_id: message for message in sent}
        crashes = [request for node, request in requests.items() if kinds[node] == "crash"]
        flips = [request for node, request in requests.items() if kinds[node] == "label_flip"]
        others = [request for node, request in requests.items() if kinds[node] not in APART]
        replies: Iterable[Message] = chain(
            [Message(Error(CRASHED, "RuntimeError"), reply_to=request) for request in crashes],
            self._grid.send_and_receive(others, timeout=timeout),
            self._flipped.send_and_receive(flips, timeout=timeout),
        )
        if "little_is_enough" in kinds.values():
            replies = self._with_little_is_enough(list(replies), kinds)
        yield from self._spoiled(replies, requests, kinds)

    def _fault(self, message: Message) -> str | None:
        if message.metadata.message_type != MessageType.TRAIN:
            return None
        names = {node.node_id: node.name for node in self._grid.get_nodes()}
        round = int(str(message.content.config_records[CONFIG]["round"]))
        return fault(names[message.metadata.dst_node_id], round, self._settings.seed, self._settings.faults)

    def _spoiled(
        self, replies: Iterable[Message], requests: Mapping[int, Message], kinds: Mapping[int, str | None]
    ) -> Iterator[Message]:
        for reply in replies:
            node = reply.metadata.src_node_id
            if kinds[node] == "straggle":
                continue
            if not reply.has_error():
                _forge(kinds[node], reply.content, requests[node].content, self._settings.federation.max_examples)
            yield reply

    def _with_little_is_enough(self, replies: list[Message], kinds: Mapping[int, str | None]) -> list[Message]:
        """Forge each weight as the honest mean less `deviations` standard deviations (Baruch et al. 2019, algorithm 3).

        Updates are summed in the order of nodes: replies arrive in an order that the seed does not determine.
        """
        arrived = {reply.metadata.src_node_id: reply.content for reply in replies if not reply.has_error()}
        honest = [_parameters(content) for node, content in sorted(arrived.items()) if kinds[node] is None]
        if len(honest) < 2:
            log.warning("little_is_enough has no spread to hide in: too few honest hospitals answered this round")
        else:
            away = np.mean(honest, axis=0) - self._settings.faults.deviations * np.std(honest, axis=0)
            for node, content in arrived.items():
                if kinds[node] == "little_is_enough":
                    _send(content, away)
        return replies


APART = ("drop_out", "crash", "label_flip")
"""Faults for which the honest site receives no request."""


def _parameters(content: RecordDict) -> Vector:
    return values(content.array_records[PARAMETERS][PARAMETERS])


def _send(content: RecordDict, parameters: Vector) -> None:
    content[PARAMETERS] = vector(np.asarray(parameters, dtype=np.float32), PARAMETERS)


FORGED_PARAMETERS: Mapping[str | None, Callable[[Vector, Vector], Vector]] = {
    "not_a_number": lambda honest, start: np.append(honest[:-1], np.nan),
    "infinity": lambda honest, start: np.append(honest[:-1], np.inf),
    "scale_attack": lambda honest, start: start + 100 * (honest - start),
    "sign_flip": lambda honest, start: 2 * start - honest,
    "wrong_shape": lambda honest, start: honest[:-1],
}
"""The parameters that a faulty site sends, from those of its honest update and those that it received."""


def _forge(kind: str | None, content: RecordDict, request: RecordDict, max_examples: int) -> None:
    if kind in FORGED_PARAMETERS:
        _send(content, FORGED_PARAMETERS[kind](_parameters(content), _parameters(request)))
    elif kind == "stale":
        metrics = content.metric_records[METRICS]
        metrics["round"] = int(str(metrics["round"])) - 1
    elif kind == "forged_count":
        content.metric_records[METRICS]["examples"] = max_examples
