"""This project by its public face: `python -m benchmarks.jobs.ours FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.jobs import task
from run_simulation import simulate
from teledx_fed.settings import save


def main(folder: Path) -> None:
    settings = replace(task.settings(), folder=str(folder))
    save(settings, folder / "config.yaml")
    simulate(settings, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
