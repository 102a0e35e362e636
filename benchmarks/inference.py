"""Grading a photograph: eager PyTorch (channels-last, inference mode) compared with the runtime of diagnosis."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import alternate, print_result, seconds
from benchmarks.synthetic import jpegs
from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.randomness import generator
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.model.export import export
from teledx_fed.model.network import Grader, build
from teledx_fed.model.runtime import Runtime

SIZE, SIDE = 224, 1024
TURNS = 7
CALLS = {1: 10, 32: 1}
"""Calls per turn, by batch size. The first call after PyTorch, whose threads still spin, is slower."""
PATIENTS, PATIENTS_A_TURN = 40, 8

Engine = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def eager(network: Grader) -> Engine:
    @torch.inference_mode()
    def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs: NDArray[np.float32] = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        return outputs

    return logits


def diagnosed(path: Path, engine: Engine) -> NDArray[np.float32]:
    """Return probabilities for a JPEG file; preparation is the same for both engines."""
    logits = engine(prepare_photograph(PhotographFile(path), SIZE)[None])
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def main() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    network = build(ModelSettings(), seed=0)
    engines: dict[str, Engine] = {
        "eager": eager(network),
        "ours": Runtime(export(network, SIZE), torch.get_num_threads()),
    }
    ratios: dict[str, float] = {}
    sides: dict[str, float] = {}
    for batch, calls in CALLS.items():
        images = generator(0, purpose="benchmark").integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8)
        turns = {name: partial(_calls, engine, images, calls) for name, engine in engines.items()}
        taken = alternate(turns, TURNS)
        ratios[f"batch_{batch}"] = taken["eager"] / taken["ours"]
        sides |= {f"{name}_batch_{batch}_ms": 1000 * value / calls / batch for name, value in taken.items()}
    from_jpegs = _from_jpegs(engines)
    ratios["jpeg"] = median(from_jpegs["eager"]) / median(from_jpegs["ours"])
    for name, values in from_jpegs.items():
        percentiles = quantiles(values, n=20)
        sides |= {f"{name}_jpeg_p50_ms": 1000 * percentiles[9], f"{name}_jpeg_p95_ms": 1000 * percentiles[18]}
    print_result("inference", ratios, at_least={"batch_1": 1.8, "batch_32": 1.8, "jpeg": 1.25}, sides=sides)


def _calls(engine: Engine, images: NDArray[np.uint8], count: int) -> None:
    for _ in range(count):
        engine(images)


def _from_jpegs(engines: dict[str, Engine]) -> dict[str, list[float]]:
    """Return the seconds of each photograph except the first of a turn; the engines take turns."""
    with TemporaryDirectory() as folder:
        jpegs(Path(folder) / "photographs", PATIENTS, SIDE)
        paths = sorted((Path(folder) / "photographs").iterdir())
        taken: dict[str, list[float]] = {name: [] for name in engines}
        for start in range(0, len(paths), PATIENTS_A_TURN):
            for name, engine in engines.items():
                turn = [seconds(partial(diagnosed, path, engine)) for path in paths[start : start + PATIENTS_A_TURN]]
                taken[name] += turn[1:]
        return taken


if __name__ == "__main__":
    main()
