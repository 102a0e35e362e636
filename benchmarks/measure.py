"""Common parts of benchmarks: the sides take turns in one run, and one JSON line reports their medians."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from teledx_fed.core.reports import RoundReport, SilentReporter

Act = Callable[[], object]


class RoundRecorder(SilentReporter):
    """Reporter that stores the report of each round."""

    def __init__(self) -> None:
        self.reports: list[RoundReport] = []

    def round(self, report: RoundReport, rounds: int) -> None:
        self.reports.append(report)


def alternate(sides: Mapping[str, Act], repeats: int) -> dict[str, float]:
    """Return the median seconds of each side, after one call of each that is not counted."""
    for act in sides.values():
        act()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, act in sides.items():
            taken[name].append(seconds(act))
    return {name: median(values) for name, values in taken.items()}


def seconds(act: Act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def peak_memory() -> float:
    """Return the peak memory of this process in MiB, on Linux; to measure a part, run it in its own process."""
    status = Path("/proc/self/status").read_text()  # unlike getrusage's, this peak is not inherited from the parent
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def alone(module: str, *arguments: object) -> dict[str, Any]:
    """Return the last line of `python -m module arguments`, a JSON object; errors go to this process's terminal."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(printed.splitlines()[-1]))


def print_result(
    benchmark: str,
    ratios: Mapping[str, float],
    *,
    at_least: Mapping[str, float] = {},
    at_most: Mapping[str, float] = {},
    sides: Mapping[str, float | str],
) -> None:
    """Print the result as one line. A ratio must not exceed its bar if it is in `ceilings`, and must reach others."""
    result = {
        "benchmark": benchmark,
        "ratios": _rounded(ratios),
        "bars": {**at_least, **at_most},
        "ceilings": list(at_most),
        "sides": _rounded(sides),
    }
    print(json.dumps(result), flush=True)


def machine(gpu: str = "") -> str:
    """Describe the machine in one line: processor, cores, memory, GPU, system and libraries."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {name: import_module(name).__version__ for name in ("torch", "onnxruntime", "flwr", "numpy")}
    libraries = (f"{name} {version.partition('+')[0]}" for name, version in versions.items())
    parts = [_processor(), f"{os.cpu_count()} cores", f"{gib:.0f} GiB", *([f"one {gpu}"] if gpu else [])]
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{', '.join(parts)}; {', '.join([system, *libraries])}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines: Sequence[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _rounded(values: Mapping[str, float | str]) -> dict[str, float | str]:
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}
