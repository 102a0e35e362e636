"""Local training on a GPU, compared with a bare loop over the same network.

The bare loop repeats one batch that is already on the device: it draws, gathers, augments and balances nothing. Ours
trains a shard as in a round, including the transfer of weights. Both are channels-last, in bf16, with a fused AdamW.
Pixels are noise, which does not affect the time. `tuned` lets cuDNN try its algorithms; ours keeps them fixed. Sides
are images per second.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.measure import alternate, print_result
from benchmarks.synthetic import CAMERA
from teledx_fed.config.data import HospitalSettings
from teledx_fed.config.learning import ModelSettings, TrainingSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import GRADES, Example, Shard, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.core.updates import LocalTraining
from teledx_fed.data.synthetic import hospital
from teledx_fed.model.network import Grader, build
from teledx_fed.training.compute import place
from teledx_fed.training.worker import Worker

IMAGES, SIZE = 4096, 224
BATCHES = (64, 256)
REPEATS = 3
LEARNING_RATE = 1e-4


@dataclass
class Noise:
    folder: Path
    pixels: NDArray[np.uint8]

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        return self.pixels[: len(examples)]


def site() -> Site:
    train = hospital("clinic", HospitalSettings(IMAGES, CAMERA), seed=0).examples[:IMAGES]
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    return Site("clinic", Shard(tuple(train), (), ()), Noise(Path("noise"), pixels))


def placed(batch_size: int) -> tuple[Grader, LocalTraining]:
    settings = Settings(
        model=ModelSettings(initial="none"),
        training=TrainingSettings(batch_size=batch_size, learning_rate=LEARNING_RATE, mixed_precision=True),
        simulation=SimulationSettings(device="cuda"),
    )
    return place(build(settings.model, 0), settings, SILENT), settings.local_training(1)


def ours(clinic: Site, worker: Worker, training: LocalTraining) -> None:
    worker.train(clinic, worker.initial, training, round=1)


def bare(network: Grader, batch: torch.Tensor, grades: torch.Tensor, tuned: bool) -> None:
    torch.backends.cudnn.benchmark = tuned
    optimizer = torch.optim.AdamW(network.trained, lr=LEARNING_RATE, fused=True)
    network.train()
    for _ in range(IMAGES // len(batch)):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = functional.cross_entropy(network(batch), grades)
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    torch.backends.cudnn.benchmark = False


def side_by_side(clinic: Site, size: int) -> dict[str, float]:
    """Return the images per second of each side."""
    (network, training), (other, _) = placed(size), placed(size)
    batch = torch.randint(0, 256, (size, SIZE, SIZE, 3), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
    grades = torch.randint(0, GRADES, (size,), device="cuda")
    taken = alternate(
        {
            "ours": partial(ours, clinic, Worker(network), training),
            "bare": partial(bare, other, batch, grades, tuned=False),
            "tuned": partial(bare, other, batch, grades, tuned=True),
        },
        REPEATS,
    )
    return {name: IMAGES / median for name, median in taken.items()}


def main() -> int:
    if not torch.cuda.is_available():
        print("benchmarks.gpu_training needs a CUDA device; there is none here.")
        return 1
    clinic, ratios, sides = site(), dict[str, float](), dict[str, float | str]()
    for size in BATCHES:
        rates = side_by_side(clinic, size)
        ratios[f"batch_{size}"] = rates["ours"] / max(rates["bare"], rates["tuned"])
        sides |= {f"{name}_{size}": rate for name, rate in rates.items()}
    sides["chip"] = torch.cuda.get_device_name()
    print_result("gpu_training", ratios, at_least=dict.fromkeys(ratios, 0.9), sides=sides)
    return 0


if __name__ == "__main__":
    sys.exit(main())
