"""Send messages to sites and collect their replies: accepted, refused, or silent."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.randomness import generator
from teledx_fed.federation import messages as wire

log = logging.getLogger(__name__)

LONGEST_REASON = 200

Valid = TypeVar("Valid")


@dataclass(frozen=True)
class Replies:
    """Accepted, refused and silent sites of a request. The content of the replies is not stored.

    `caught` of the refused sites sent an invalid reply; the others sent an error, which an honest site may do.
    """

    accepted: tuple[str, ...]
    refused: Mapping[str, str]
    caught: int
    silent: tuple[str, ...]
    bytes_up: int
    bytes_down: int

    def without(self, refused: Mapping[str, str]) -> Self:
        """Return these replies, with the sites of `refused` moved from accepted to refused."""
        return replace(
            self,
            accepted=tuple(site for site in self.accepted if site not in refused),
            refused=dict(sorted({**self.refused, **refused}.items())),
            caught=self.caught + len(refused),
        )

    def beside(self, earlier: Self) -> Self:
        """Return these replies, with the refused and silent sites of an earlier request of the same round."""
        return replace(
            self,
            refused=dict(sorted({**earlier.refused, **self.refused}.items())),
            caught=earlier.caught + self.caught,
            silent=tuple(sorted({*earlier.silent, *self.silent})),
            bytes_up=earlier.bytes_up + self.bytes_up,
        )


def named_sites(grid: Grid) -> dict[int, str]:
    """Return the registered name of each node: a reply does not name its site. Names must be unique and not empty."""
    nodes = {node.node_id: node.name for node in sorted(grid.get_nodes(), key=lambda node: node.name)}
    if "" in nodes.values() or len(set(nodes.values())) < len(nodes):
        raise ConfigurationError(
            f"sites must have names of their own, got {list(nodes.values())}. Register each by its name."
        )
    return nodes


def sampled(nodes: Mapping[int, str], round: int, settings: Settings, needed: int) -> dict[int, str]:
    """Return the sites that train in this round, by node; a repeated round has the same sites.

    `needed` is the number of replies that the strategy needs, for the error message.
    """
    count = max(settings.federation.quorum, int(settings.federation.fraction_train * len(nodes) + 0.5))
    if count > len(nodes):
        strategy = settings.strategy
        tolerate = f"{strategy.name} needs {needed} to tolerate strategy.faulty={strategy.faulty}"
        lower = "Lower it" if needed <= len(nodes) else f"{tolerate}: choose another strategy, lower strategy.faulty"
        raise ConfigurationError(
            f"federation.quorum must be at most the number of sites, got {settings.federation.quorum} "
            f"of {len(nodes)}. {lower}, or have more sites."
        )
    drawn = generator(settings.seed, "", round, "sampled sites").choice(sorted(nodes.values()), count, replace=False)
    chosen = set(drawn.tolist())
    return {node: name for node, name in nodes.items() if name in chosen}


def send_and_collect(
    grid: Grid,
    sent: Sequence[Message],
    nodes: Mapping[int, str],
    settings: FederationSettings,
    validate: Callable[[str, RecordDict], Valid | str],
    take: Callable[[str, Valid], None],
) -> Replies:
    """Send, wait until the deadline, validate each reply when it arrives, and pass the valid ones to `take`."""
    accepted: set[str] = set()
    refused: dict[str, str] = {}
    bytes_up = caught = 0
    for message in grid.send_and_receive(sent, timeout=settings.deadline_seconds):
        site = nodes.get(message.metadata.src_node_id)
        if site is None or site in accepted or site in refused:
            log.warning("dropped a reply from a node that got no message, or a second reply")
            continue
        if message.has_error():
            refused[site] = _printable(message.error.reason or "no reason given")
            continue
        bytes_up += wire.size(message.content)
        valid = validate(site, message.content)
        if isinstance(valid, str):
            refused[site] = _printable(valid)
            caught += 1
        else:
            accepted.add(site)
            take(site, valid)
    return Replies(
        accepted=tuple(sorted(accepted)),
        refused=dict(sorted(refused.items())),
        caught=caught,
        silent=tuple(name for name in sorted(nodes.values()) if name not in accepted and name not in refused),
        bytes_up=bytes_up,
        bytes_down=sum(wire.size(message.content) for message in sent),
    )


def _printable(reason: str) -> str:
    """Return the start of a text that a site sent, without control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in reason[:LONGEST_REASON])
