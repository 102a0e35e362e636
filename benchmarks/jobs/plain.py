"""The same steps without a federation: `python -m benchmarks.jobs.plain FOLDER`."""

import sys
from pathlib import Path

import torch

from benchmarks.jobs.quickstart import Net, train
from benchmarks.jobs.task import ROUNDS, SITES


def main(folder: Path) -> None:
    net = Net().to(memory_format=torch.channels_last)
    for round in range(1, ROUNDS + 1):
        for number in range(SITES):
            train(net, number, round)
    torch.save(net.state_dict(), folder / "final_model.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
