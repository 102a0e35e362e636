"""A federation in this process, whose replies a test can change."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flwr.app import Context, Message

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.federation.aggregation import Aggregation, local_aggregation_of
from teledx_fed.federation.checkpoint import Progress, begin
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, vector
from teledx_fed.federation.rounds import rounds
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.federation.strategies.registry import local_strategy_of
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker

NAMES = ("east", "north", "west")

App = Callable[[Message, Context], Message]


class World:
    """A federation of `sites`; `spoil` of `run` can change their replies."""

    def __init__(self, settings: Settings, sites: Sequence[Site], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.sites = {site.name: site for site in sites}
        self.worker = Worker(build(settings.model, settings.seed))

    def run(
        self,
        spoil: Callable[[str, int, Message], Message] | None = None,
        start: Progress | None = None,
        aggregation: Aggregation | None = None,
    ) -> Iterator[tuple[Progress, RoundReport]]:
        hospitals = {
            name: Hospital(site, self.worker, self.settings, self.folder / "sites" / name)
            for name, site in self.sites.items()
        }
        app = client_app(lambda context: hospitals[str(context.node_config["site"])])

        def spoiled(message: Message, context: Context) -> Message:
            reply = app(message, context)
            if spoil is None or "config" not in message.content:  # a request for a declaration
                return reply
            round = int(str(message.content.config_records["config"]["round"]))
            return spoil(str(context.node_config["site"]), round, reply)

        grid = InProcessGrid([spoiled if spoil is not None else app], list(self.sites))  # type: ignore[list-item]
        strategy = local_strategy_of(self.settings)
        start = start or begin(self.worker.initial.weights)
        aggregation = aggregation or local_aggregation_of(self.settings)
        yield from rounds(grid, strategy, start, self.settings, self.folder, aggregation)


def nan(reply: Message) -> Message:
    values = reply.content.array_records[PARAMETERS][PARAMETERS].numpy().copy()
    values[3] = np.nan
    reply.content[PARAMETERS] = vector(values, PARAMETERS)
    return reply


def crashing(reply: Message) -> Message:
    raise RuntimeError("the photograph of patient 7 is broken")
