"""This project through its public interface: `python -m benchmarks.jobs.ours FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.jobs import task
from teledx_fed.config.loading import save
from teledx_fed.experiment import run_experiment


def main(folder: Path) -> None:
    settings = replace(task.settings(), folder=str(folder))
    save(settings, folder / "config.yaml")
    run_experiment(settings, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
