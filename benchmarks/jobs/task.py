"""The job: eight synthetic hospitals fine-tune one EfficientNet-B0 through five rounds of one epoch each."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from teledx_fed.config.data import DataSettings, HospitalSettings, PartitionSettings
from teledx_fed.config.federation import FederationSettings, OutboundSettings
from teledx_fed.config.learning import ModelSettings, TrainingSettings
from teledx_fed.config.run import EvaluationSettings, SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import hospitals

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".teledx_cache" / "peers"

SITES, ROUNDS = 8, 5
BATCH_SIZE = 16
LEARNING_RATE, MOMENTUM = 0.01, 0.9
CORES = 2


def settings() -> Settings:
    """Return settings: SGD and plain cross-entropy as in the peers' examples, and random weights, just as fast."""
    return Settings(
        data=DataSettings(
            hospitals={f"hospital_{number}": HospitalSettings(patients=24) for number in range(SITES)},
            image_size=96,
            cache=str(CACHE),
        ),
        partition=PartitionSettings(validation=0.1, test=0.1),
        model=ModelSettings(initial="none"),
        training=TrainingSettings(
            batch_size=BATCH_SIZE,
            optimizer="sgd",
            learning_rate=LEARNING_RATE,
            momentum=MOMENTUM,
            weight_decay=0.0,
            class_balance="none",
        ),
        federation=FederationSettings(rounds=ROUNDS),
        outbound=OutboundSettings(min_patients=1),
        evaluation=EvaluationSettings(replicates=10),
        simulation=SimulationSettings(workers=CORES, threads=1, device="cpu"),
        baselines=[],
    )


@cache
def sites() -> tuple[Site, ...]:
    return tuple(hospitals(settings(), CACHE, SILENT).values())


def tensors(site: Site, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return prepared photographs (n, 3, s, s), uint8, and their grades (n,)."""
    pixels = torch.from_numpy(site.images.batch(examples)).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor([example.grade for example in examples])


def stopwatch(rounds: Callable[[int], object], folder: Path) -> None:
    """Write to `folder` the seconds of the job's rounds, after one round to start everything."""
    rounds(1)
    began = time.perf_counter()
    rounds(ROUNDS)
    (folder / "seconds").write_text(str(time.perf_counter() - began))
