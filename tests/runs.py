"""Runs of `run_simulation.py` in a process, for tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
TWO_HOSPITALS = ["~data.hospitals.island", "~data.hospitals.valley"]
TINY = [
    *TWO_HOSPITALS,
    "data.hospitals.north.patients=24",
    "data.hospitals.harbour.patients=30",
    "data.image_size=64",
    "model.name=test_efficientnet",
    "model.initial=none",
    "training.epochs=1",
    "federation.rounds=2",
    "evaluation.replicates=50",
    "outbound.min_patients=2",
    "simulation.threads=1",
]


Start = Callable[..., "subprocess.Popen[str]"]


def finish(process: "subprocess.Popen[str]") -> Path:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    last = out.strip().splitlines()[-1]
    assert last.startswith(("run folder: ", "table: "))
    return Path(last.removeprefix("run folder: "))


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()
