"""From 8 to 512 simulated sites on one machine: seconds of a site's round, and memory.

A small network and twenty photographs per site; each number of sites runs in its own processes, which take turns.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import RoundRecorder, alone, peak_memory, print_result
from teledx_fed.config.data import DataSettings, HospitalSettings
from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.learning import ModelSettings, TrainingSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Shard, Site
from teledx_fed.core.randomness import generator
from teledx_fed.core.reports import SILENT
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import build
from teledx_fed.training.compute import device
from teledx_fed.training.worker import Worker

MANY, FEW = 512, 8
ROUNDS = {MANY: 2, FEW: 20}
SIZE = 64
REPEATS = 3


@dataclass(frozen=True)
class Noise:
    """Noise in place of a photograph, which takes no time to draw."""

    name: str

    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def size(self) -> tuple[int, int]:
        return SIZE, SIZE

    def read(self) -> NDArray[np.uint8]:
        return generator(0, self.name).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@dataclass
class NoiseImages:
    folder: Path

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        return np.stack([example.image.read() for example in examples])


def site(name: str, folder: Path) -> Site:
    examples = [Example(Noise(f"{name}-{number}"), number % 5, f"{name}-{number}") for number in range(20)]
    return Site(name, Shard(tuple(examples[:14]), tuple(examples[14:]), ()), NoiseImages(folder))


def simulation(count: int) -> None:
    """Print seconds of a site's round, without start-up, and memory as the last line."""
    settings = Settings(
        data=DataSettings(hospitals={"noise": HospitalSettings()}, image_size=SIZE),
        model=ModelSettings(name="test_efficientnet", initial="none"),
        training=TrainingSettings(batch_size=14),
        federation=FederationSettings(rounds=ROUNDS[count]),
        simulation=SimulationSettings(threads=1, device="cpu"),
    )
    device(settings, SILENT)
    recorder = RoundRecorder()
    with TemporaryDirectory() as folder:
        sites = {name: site(name, Path(folder)) for name in (f"site-{number:03d}" for number in range(count))}
        worker = Worker(build(settings.model, seed=0))
        federate(sites, [worker], settings, Path(folder), recorder)
    rounds = recorder.reports[1:-1]  # the first warms up, the last only scores
    assert all(len(report.accepted) == count for report in rounds)
    taken = median(report.seconds for report in rounds) / count
    print_result("scaling.simulation", {}, sides={"seconds": taken, "mib": peak_memory()})


def main() -> None:
    taken = {count: list[dict[str, float]]() for count in (MANY, FEW)}
    for _ in range(REPEATS):
        for count, sides in taken.items():
            sides.append(alone("benchmarks.scaling", count)["sides"])
    many, few = ({key: median(side[key] for side in sides) for key in sides[0]} for sides in taken.values())
    print_result(
        "scaling",
        {"seconds": many["seconds"] / few["seconds"], "memory": many["mib"] / few["mib"]},
        at_most={"seconds": 1.3, "memory": 1.3},
        sides={f"{MANY}_sites_{key}": value for key, value in many.items()}
        | {f"{FEW}_sites_{key}": value for key, value in few.items()},
    )


if __name__ == "__main__":
    simulation(int(sys.argv[1])) if len(sys.argv) > 1 else main()
