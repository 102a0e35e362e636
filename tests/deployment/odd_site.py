"""`python -m sites` at a hospital with a fault, which the environment variable ODD_SITE selects."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from sites.__main__ import app
from teledx_fed.core.weights import Vector
from teledx_fed.training.worker import TrainedModel, Worker

train = Worker.train


@contextmanager
def sending(parameters: Callable[[Vector], Vector]) -> Iterator[None]:
    """Send changed parameters, without the outbound rules, which would stop some of them."""

    def poisoned(worker: Worker, *arguments: object) -> TrainedModel:
        trained = train(worker, *arguments)  # type: ignore[arg-type]
        weights = trained.model.weights
        changed = replace(weights, parameters=parameters(weights.parameters).astype(np.float32))
        return replace(trained, model=replace(trained.model, weights=changed))

    with (
        patch.object(Worker, "train", poisoned),
        patch("teledx_fed.deployment.site.hospital.outbound_fault", return_value=None),
    ):
        yield


def release(name: str) -> AbstractContextManager[object]:
    return patch("teledx_fed.deployment.site.hospital.RELEASE", name)


ODDITIES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nan": lambda: sending(lambda parameters: np.where(np.arange(len(parameters)) == 7, np.nan, parameters)),
    "larger": lambda: sending(lambda parameters: parameters * 1e6),
    "longer": lambda: sending(lambda parameters: np.append(parameters, [0.0, 0.0])),
    "far-ahead": lambda: release("7.0.0"),
    "one-ahead": lambda: release("0.2.0"),
}

if __name__ == "__main__":
    with ODDITIES[os.environ["ODD_SITE"]]():
        app()
