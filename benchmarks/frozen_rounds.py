"""A round with a frozen backbone: run by ONNX Runtime for every image, compared with cached features."""

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import RoundRecorder, print_result, seconds
from benchmarks.synthetic import federation
from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.learning import ModelSettings, TrainingSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import SILENT
from teledx_fed.federation.simulation import federate
from teledx_fed.model.export import export
from teledx_fed.model.network import build
from teledx_fed.model.runtime import Runtime
from teledx_fed.training.compute import device
from teledx_fed.training.worker import Worker

SITES, TRAIN, VALIDATION = 4, 160, 40
BATCH, ROUNDS, REPEATS = 32, 5, 3


def cached_round(sites: Mapping[str, Site], worker: Worker, settings: Settings) -> float:
    """Return the median seconds of a round, from the server's messages to the next global model."""
    recorder = RoundRecorder()
    with TemporaryDirectory() as folder:
        federate(sites, [worker], settings, Path(folder), recorder)
    return median(report.seconds for report in recorder.reports[:ROUNDS])


def backbone(sites: Mapping[str, Site], runtime: Runtime) -> None:
    """Compute the features that the cache saves in each round."""
    for site in sites.values():
        examples = [*site.shard.train, *site.shard.validation]
        for start in range(0, len(examples), BATCH):
            runtime(site.images.batch(examples[start : start + BATCH]))


def main() -> None:
    settings, sites = federation(
        SITES,
        TRAIN,
        VALIDATION,
        image_size=224,
        model=ModelSettings(freeze="backbone"),
        training=TrainingSettings(augment=False, batch_size=BATCH),
        federation=FederationSettings(rounds=ROUNDS),
        simulation=SimulationSettings(threads=os.cpu_count() or 1, device="cpu"),
    )
    device(settings, SILENT)
    network = build(settings.model, seed=0)
    worker, runtime = Worker(network), Runtime(export(network.frozen, 224), torch.get_num_threads())
    cached_round(sites, worker, settings)  # fills the cache
    taken = [(seconds(lambda: backbone(sites, runtime)), cached_round(sites, worker, settings)) for _ in range(REPEATS)]
    spared, cached = (median(side) for side in zip(*taken, strict=True))
    print_result(
        "frozen_rounds",
        {"cached": (spared + cached) / cached},
        at_least={"cached": 50},
        sides={"round_with_backbone_seconds": spared + cached, "round_on_features_seconds": cached},
    )


if __name__ == "__main__":
    main()
