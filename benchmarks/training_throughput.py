"""Full fine-tuning in a federation, compared with a bare PyTorch loop over the same prepared images.

Both are channels-last, with the same augmentation, batch size and number of threads. Ours counts whole rounds with
messages, validation of updates and aggregation, but without scoring: a site scores on two images, and that time is
subtracted.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional

from benchmarks.measure import RoundRecorder, print_result
from benchmarks.synthetic import federation
from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.learning import TrainingSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import SILENT
from teledx_fed.data.augmentation import augment
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import Grader, build
from teledx_fed.training.compute import device
from teledx_fed.training.worker import Worker

SITES, IMAGES, BATCH, ROUNDS = 2, 256, 32, 2
REPEATS = 5


def ours(sites: Mapping[str, Site], worker: Worker, settings: Settings) -> float:
    """Return the seconds of the training rounds, minus those of scoring in all rounds."""
    recorder = RoundRecorder()
    scored = worker.clock.seconds()["evaluation"]
    with TemporaryDirectory() as folder:
        federate(sites, [worker], settings, Path(folder), recorder)
    return sum(report.seconds for report in recorder.reports) - (worker.clock.seconds()["evaluation"] - scored)


def plain(network: Grader, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the seconds of as many epochs over as many images, without a federation."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network.train()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for index in torch.randperm(len(images), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(augment(images[index], generator)), labels[index])
            loss.backward()
            optimizer.step()
    return time.perf_counter() - began


def main() -> None:
    settings, sites = federation(
        SITES,
        train=IMAGES,
        validation=2,
        image_size=96,
        training=TrainingSettings(batch_size=BATCH, learning_rate=1e-4),
        federation=FederationSettings(rounds=ROUNDS),
        simulation=SimulationSettings(threads=os.cpu_count() or 1, device="cpu"),
    )
    device(settings, SILENT)
    worker, network = Worker(build(settings.model, seed=0)), build(settings.model, seed=0)
    examples = [example for site in sites.values() for example in site.shard.train]
    images = torch.from_numpy(next(iter(sites.values())).images.batch(examples)).permute(0, 3, 1, 2)
    labels = torch.tensor([example.grade for example in examples])
    taken = [(ours(sites, worker, settings), plain(network, images, labels)) for _ in range(1 + REPEATS)]
    rates = [ROUNDS * len(images) / median(side) for side in zip(*taken[1:], strict=True)]
    print_result(
        "training_throughput",
        {"throughput": rates[0] / rates[1]},
        at_least={"throughput": 0.95},
        sides={
            "ours_images_per_second": rates[0],
            "plain_images_per_second": rates[1],
        },
    )


if __name__ == "__main__":
    main()
