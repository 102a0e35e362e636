"""The whole run of four real hospitals on a GPU, from photographs to report.

The first start prepares the photographs and computes their features; the second reads both from the cache.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.jobs.task import ROOT
from benchmarks.measure import print_result, seconds
from teledx_fed.model.runtime import has_cuda

DATA = ROOT.parent / "shared" / "data"


def run(folder: Path, name: str) -> None:
    settings = {
        "experiment": "real_hospitals",
        "data_root": DATA,
        "data.cache": folder / "cache",
        "folder": folder / name,
        "simulation.device": "cuda",
        "simulation.threads": os.cpu_count(),
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    subprocess.run([sys.executable, "run_simulation.py", *overrides], cwd=ROOT, check=True, stdout=sys.stderr)


def main() -> int:
    if not (torch.cuda.is_available() and DATA.is_dir()):
        print("benchmarks.gpu_real_hospitals needs a CUDA device, and the photographs in ../shared/data.")
        return 1
    with TemporaryDirectory() as folder:
        taken = {name: seconds(partial(run, Path(folder), name)) for name in ("first", "second")}
    sides: dict[str, float | str] = {f"{name}_start_seconds": value for name, value in taken.items()}
    sides |= {"chip": torch.cuda.get_device_name(), "frozen_part_on": "CUDA" if has_cuda() else "CPU"}
    print_result("gpu_real_hospitals", {"second_start": taken["first"] / taken["second"]}, sides=sides)
    return 0


if __name__ == "__main__":
    sys.exit(main())
