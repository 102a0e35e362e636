"""Time of `--help`, compared with an interpreter that only imports the libraries of the commands."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import alternate, print_result

ROOT = Path(__file__).parents[1]
BARE = ("-c", "import typer, rich, hydra")
SIMULATION = ("run_simulation.py", "--help")
COMMANDS = {name: ("-m", name, "--help") for name in ("sites", "server") if find_spec(f"{name}.__main__")}
REPEATS = 7


def main() -> None:
    runs = {"bare": BARE, "simulation": SIMULATION, **COMMANDS}
    taken = alternate({name: _started(arguments) for name, arguments in runs.items()}, REPEATS)
    ratios = {"simulation": taken["simulation"] / taken["bare"]}
    bars = {"simulation": 2.2}
    if COMMANDS:
        ratios["commands"] = max(taken[name] for name in COMMANDS) / taken["bare"]
        bars["commands"] = 1.6
    print_result("startup", ratios, at_most=bars, sides={f"{name}_seconds": value for name, value in taken.items()})


def _started(arguments: tuple[str, ...]) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
