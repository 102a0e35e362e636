"""Run a job in its own process, in the virtual environment of its peer."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.jobs.task import ROOT

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Job:
    """A module of this package, and the name of the file with its result.

    `environment` is a folder of `.venv-peers`, or None for this project's own; `threads` are per torch process.
    """

    module: str
    result: str
    environment: str | None = None
    threads: int = 1

    def run(self, folder: Path, *arguments: str) -> Path:
        """Run the job, and return the file with its result. Raise a `RuntimeError` with its output if it fails."""
        command = [self._python(), "-m", f"benchmarks.jobs.{self.module}", *arguments, str(folder)]
        environment = {**os.environ, **QUIET, "OMP_NUM_THREADS": str(self.threads)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        results = sorted(folder.rglob(self.result))
        if done.returncode or not results:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stdout[-5000:]}{done.stderr[-5000:]}")
        return results[0]

    def _python(self) -> str:
        if self.environment is None:
            return sys.executable
        python = ROOT / ".venv-peers" / self.environment / "bin" / "python"
        if not python.exists():
            raise ValueError(f"{python.relative_to(ROOT)} must exist, got no such file. Run make bench-peers first.")
        return str(python)


def seconds_to_final_weights(job: Job, *arguments: str) -> float:
    """Return the seconds from the start of the job's process until its last weights are on disk."""
    with TemporaryDirectory() as folder:
        began = time.time()
        return job.run(Path(folder), *arguments).stat().st_mtime - began


def measured_seconds(job: Job, *arguments: str) -> float:
    """Return the seconds that the job itself measured."""
    with TemporaryDirectory() as folder:
        return float(job.run(Path(folder), *arguments).read_text())


def medians(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return the median of each side's measurements; the sides take turns."""
    taken = [{name: measure() for name, measure in sides.items()} for _ in range(repeats)]
    return {name: median(turn[name] for turn in taken) for name in sides}
