"""The server's part of a round: its memory with many sites and with few, and the time for one update.

The updates have the size of EfficientNet-B0's; each is made only when the server pulls it. Memory is measured in a
process of its own for each number of sites.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.measure import RoundRecorder, alone, alternate, peak_memory, print_result
from teledx_fed.config.data import DataSettings, HospitalSettings
from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.randomness import generator
from teledx_fed.core.updates import GlobalModel, LocalUpdate
from teledx_fed.core.weights import Weights
from teledx_fed.data.summary import SHAPES
from teledx_fed.federation import messages as wire
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.replies import UpdateSpec, validate_update
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.strategies.strategy import MeanAccumulator
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker

MANY, FEW = 256, 8
REPEATS = 3
SETTINGS = Settings(
    data=DataSettings(hospitals={"stub": HospitalSettings()}),
    model=ModelSettings(initial="none"),
    federation=FederationSettings(rounds=2),
)


def small_update(start: Weights, site: str) -> RecordDict:
    """Return the reply of a site that changed every parameter a little."""
    noise = generator(0, site).standard_normal(len(start.parameters), dtype=np.float32)
    weights = Weights(start.parameters + 1e-3 * noise, start.statistics, start.layout)
    update = LocalUpdate(1, weights, examples=100, oedema_examples=0, train_loss=None, tables={})
    return wire.reply(update, {wire.PARAMETERS: weights.parameters})


def server(sites: int) -> None:
    """Run two rounds, and print the peak memory as the last line."""
    worker = Worker(build(SETTINGS.model, seed=0))
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = wire.model_of(message.content, worker.network.layout)
        reply = small_update(model.weights, str(context.node_config["site"]))
        reply.metric_records[wire.METRICS]["round"] = model.round
        return Message(reply, reply_to=message)

    @app.query("statistics")
    def statistics(message: Message, context: Context) -> Message:
        declared = {name: np.zeros(shape) for name, shape in SHAPES.items()} | {"declared": np.array([100.0])}
        return Message(RecordDict({wire.TABLES: wire.arrays(declared)}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({wire.TABLES: wire.arrays({})}), reply_to=message)

    with TemporaryDirectory() as folder:
        grid = InProcessGrid([app], [f"site-{number:03d}" for number in range(sites)])
        recorder = RoundRecorder()
        coordinate(grid, worker, SETTINGS, Path(folder), recorder)
    assert [len(report.accepted) for report in recorder.reports] == [sites] * (SETTINGS.federation.rounds + 1)
    print_result("aggregation.server", {}, sides={"mib": peak_memory()})


def one_update() -> dict[str, float]:
    start = Worker(build(SETTINGS.model, seed=0)).initial.weights
    content = small_update(start, "site")
    spec = UpdateSpec(1, start.layout, SETTINGS.model.head).of_site(photographs=1000)
    mean = MeanAccumulator(GlobalModel(1, start, 0), "examples")
    into = [np.empty_like(vector) for vector in (start.parameters, start.statistics)]

    def take() -> None:
        valid = validate_update(content, spec, start, (1e3, 1e3))
        assert not isinstance(valid, str), valid
        mean.add("site", valid.update)

    def copy() -> None:
        for target, vector in zip(into, (start.parameters, start.statistics), strict=True):
            np.copyto(target, vector)

    sides: dict[str, Callable[[], None]] = {"update": take, "copy": copy}
    return alternate(sides, repeats=50)


def main() -> None:
    taken = one_update()
    memory = {
        sites: median(alone("benchmarks.aggregation", sites)["sides"]["mib"] for _ in range(REPEATS))
        for sites in (MANY, FEW)
    }
    print_result(
        "aggregation",
        {"memory": memory[MANY] / memory[FEW], "update": taken["update"] / taken["copy"]},
        at_most={"memory": 1.2, "update": 15},
        sides={f"{sites}_sites_mib": value for sites, value in memory.items()}
        | {f"{name}_ms": 1000 * value for name, value in taken.items()},
    )


if __name__ == "__main__":
    server(int(sys.argv[1])) if len(sys.argv) > 1 else main()
