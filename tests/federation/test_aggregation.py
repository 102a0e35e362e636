"""An aggregation with two phases replaces the plain one without a change of the round loop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from federated_world import World
from flwr.serverapp import Grid

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.updates import LocalUpdate
from teledx_fed.core.weights import Weights
from teledx_fed.federation.aggregation import Collected, PlainAggregation, RoundRequest
from teledx_fed.federation.data_summaries import ask_for_summaries
from teledx_fed.federation.send_and_collect import Replies
from teledx_fed.federation.strategies.strategy import Accumulator


class Halved:
    """An accumulator that halves the change of each update, in place of unmasking."""

    def __init__(self, inner: Accumulator[object], start: Weights) -> None:
        self._inner, self._start = inner, start

    def add(self, site: str, update: LocalUpdate) -> None:
        parameters = (self._start.parameters + update.weights.parameters) / 2
        self._inner.add(site, replace(update, weights=replace(update.weights, parameters=parameters)))

    def aggregate(self) -> object:
        return self._inner.aggregate()


class TwoPhases:
    """An aggregation with a message to each site, as for keys, before the updates."""

    def __init__(self) -> None:
        self.first_phase: list[tuple[str, ...]] = []

    def run(
        self, grid: Grid, request: RoundRequest, collected: Collected, settings: Settings, scratch: Path
    ) -> Replies:
        replies, _ = ask_for_summaries(grid, settings.federation, request.nodes)
        self.first_phase.append(replies.accepted)
        collected.accumulator = Halved(collected.accumulator, request.model.weights)
        return PlainAggregation().run(grid, request, collected, settings, scratch)


def test_an_aggregation_of_two_phases_replaces_the_plain_one(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    settings = tiny_settings(federation__rounds=1)
    world = World(settings, [tiny_site("north", 5), tiny_site("south", 5)], tmp_path)
    start, two_phases = world.worker.initial.weights.parameters, TwoPhases()
    plain, _ = next(world.run())
    halved, report = next(world.run(aggregation=two_phases))
    assert two_phases.first_phase == [report.accepted] == [("north", "south")]
    change, half = plain.weights.parameters - start, halved.weights.parameters - start
    assert abs(half - change / 2).max() < 1e-6 < abs(change).max()
