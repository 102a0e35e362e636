"""Size of an update in a message, and the loss of accuracy with eight bits per parameter, by six full simulations.

QWK is the validation sets' mean over the last half of the rounds, since a single round varies by more than the expected
difference; `qwk_lost` is negative if eight bits are better.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import print_result
from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.randomness import generator
from teledx_fed.core.updates import LocalUpdate
from teledx_fed.federation import messages as wire
from teledx_fed.model.network import build
from teledx_fed.privacy.transforms import encode
from teledx_fed.training.worker import Worker

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)


def update_bytes(freeze: str, compression: str) -> int:
    """Return the bytes of a reply's arrays, without score tables: these always take the same few kilobytes."""
    start = Worker(build(ModelSettings(initial="none", freeze=freeze), seed=0)).initial.weights
    difference = generator(0, purpose="benchmark").standard_normal(len(start.parameters), dtype=np.float32)
    whole = {wire.PARAMETERS: start.parameters + difference}
    travelling = whole if compression == "none" else encode(difference, start.layout, compression)
    update = LocalUpdate(1, start, examples=1, oedema_examples=0, train_loss=None, tables={})
    return wire.size(wire.reply(update, travelling))


def simulated(seed: int, compression: str) -> dict[str, float]:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        overrides = (
            f"seed={seed}",
            f"federation.compression={compression}",
            "simulation.threads=1",
            f"folder={folder}",
        )
        command = [sys.executable, "run_simulation.py", "experiment=quick_full", "evaluation.replicates=10", *overrides]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    return {
        "qwk": fmean(round["metrics"]["qwk"] for round in rounds[len(rounds) // 2 :]),
        "bytes_up": fmean(round["bytes_up"] for round in rounds[:-1]),
    }


def main() -> None:
    sizes = {"full": update_bytes("none", "none"), "head": update_bytes("backbone", "none")}
    runs: Mapping[str, list[dict[str, float]]] = {"none": [], "int8": []}
    for seed in SEEDS:
        for compression, results in runs.items():
            results.append(simulated(seed, compression))
    means = {name: {key: fmean(run[key] for run in by_seed) for key in by_seed[0]} for name, by_seed in runs.items()}
    sides = {f"{name}_bytes": float(size) for name, size in sizes.items()}
    for name, mean in means.items():
        sides |= {f"{name}_qwk": mean["qwk"], f"{name}_bytes_a_round": mean["bytes_up"]}
    print_result(
        "update_size",
        {
            "head_only": sizes["head"] / sizes["full"],
            "int8": means["int8"]["bytes_up"] / means["none"]["bytes_up"],
            "qwk_lost": means["none"]["qwk"] - means["int8"]["qwk"],
        },
        at_most={"head_only": 0.01, "int8": 0.27, "qwk_lost": 0.01},
        sides=sides,
    )


if __name__ == "__main__":
    main()
