"""Run all benchmarks, or those named, and update docs/results/: `python -m benchmarks [NAME …]`."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import alone, machine

RESULTS = Path(__file__).parents[1] / "docs" / "results"
BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of what was measured -->"
HEAD = ("| benchmark | ratio | measured | bar | sides |", "|---|---|---|---|---|")
MEASUREMENTS = (
    "simulation_overhead",
    "training_throughput",
    "peers",
    "frozen_rounds",
    "inference",
    "aggregation",
    "scaling",
    "update_size",
    "preparation",
    "startup",
    "deployed_round",
    "drawing",
    "clinic",
)
ON_A_GPU = ("gpu_training", "gpu_real_hospitals")

Result = Mapping[str, Any]


def main(names: Sequence[str]) -> int:
    failed = []
    for name in names or MEASUREMENTS:
        print(f"benchmarks.{name} …", flush=True)
        try:
            result = alone(f"benchmarks.{name}")
        except subprocess.CalledProcessError:
            failed.append(name)
            continue
        page, chip = RESULTS / ("gpu.md" if name in ON_A_GPU else "performance.md"), result["sides"].pop("chip", "")
        print("\n".join(rows(result)))
        page.write_text(with_result(page.read_text(), machine(chip), result))
    if failed:
        print(f"not measured, for the reasons above: {', '.join(failed)}")
    return len(failed)


def rows(result: Result) -> list[str]:
    """Return one line per ratio; the first also has the sides, from which the ratios were computed."""
    sides = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in result["sides"].items())
    lines = []
    for name, value in result["ratios"].items():
        bar, ceiling = result["bars"].get(name), name in result.get("ceilings", ())
        met = bar is None or (value <= bar if ceiling else value >= bar)
        shown = _short(value) if met else f"**{_short(value)}**, missed"
        wanted = "" if bar is None else f"{'≤' if ceiling else '≥'} {bar:g}"
        lines.append(f"| `{result['benchmark']}` | {name} | {shown} | {wanted} | {sides} |")
        sides = ""
    return lines


def with_result(page: str, machine: str, result: Result) -> str:
    """Return the page with this result in place of its earlier one, without results of another machine."""
    before, _, rest = page.partition(BEGIN)
    measured, _, after = rest.partition(END)
    earlier = measured.splitlines() if f"On {machine}." in measured else []
    others = [line for line in earlier if line.startswith("| `") and f"| `{result['benchmark']}` |" not in line]
    table = sorted([*others, *rows(result)], key=_order)
    return "\n".join([before + BEGIN, "", f"On {machine}.", "", *HEAD, *table, "", END + after])


def _order(row: str) -> int:
    return (*MEASUREMENTS, *ON_A_GPU).index(row.split("`")[1])


def _short(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
