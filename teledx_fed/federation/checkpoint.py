"""Checkpoint of a federation, to continue after a crash: arrays and JSON in one file, replaced atomically."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from teledx_fed.core.errors import IntegrityError
from teledx_fed.core.files import write_bytes
from teledx_fed.core.updates import Tables
from teledx_fed.core.weights import Layout, Vector, Weights


@dataclass(frozen=True)
class Scored:
    """A round's model, its validation score at each site, and the sum of the sites' validation tables.

    `evidence` holds counts of diseased eyes for the thresholds of hospitals that have few such eyes.
    """

    round: int
    weights: Weights
    scores: Mapping[str, float]
    tables: Tables = field(default_factory=dict)
    evidence: Tables = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """State of a federation after `round`.

    `trained_in` is the round that gave `weights`, an earlier one after void rounds. `waited` counts the rounds after
    the best one that were compared and not better. `memory` is the state of the strategy, `norms` the median distances
    (parameters, statistics) of accepted updates in each round, `declared` the photographs that each site declared.
    """

    round: int
    weights: Weights
    best: Scored
    memory: Mapping[str, Vector] = field(default_factory=dict)
    norms: tuple[tuple[float, float], ...] = ()
    declared: Mapping[str, int] = field(default_factory=dict)
    trained_in: int = 0
    waited: int = 0
    finished: bool = False


def begin(weights: Weights) -> Progress:
    """Return the progress before the first round."""
    return Progress(0, weights, Scored(0, weights, {}))


def write(progress: Progress, path: Path) -> None:
    """Write a checkpoint as safetensors, atomically."""
    best = progress.best.weights
    arrays: dict[str, NDArray[Any]] = {
        **_arrays("weights", progress.weights),
        **(_arrays("best", best) if best is not progress.weights else {}),
        **{f"memory.{name}": array for name, array in progress.memory.items()},
        **{f"tables.{name}": array for name, array in progress.best.tables.items()},
        **{f"evidence.{name}": array for name, array in progress.best.evidence.items()},
    }
    state = {
        "round": progress.round,
        "best": {"round": progress.best.round, "scores": dict(progress.best.scores)},
        "norms": progress.norms,
        "declared": dict(progress.declared),
        "trained_in": progress.trained_in,
        "waited": progress.waited,
        "finished": progress.finished,
        "layout": progress.weights.layout.digest,
    }
    write_bytes(path, save(arrays, metadata={"state": json.dumps(state)}))


def read(path: Path, layout: Layout) -> Progress:
    """Read a checkpoint. An `IntegrityError` if it belongs to another network."""
    with safe_open(path, framework="numpy") as file:
        state = json.loads(file.metadata()["state"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if state["layout"] != layout.digest:
        raise IntegrityError(
            f"{path} must hold the network of this run, got another layout. Resume the run it belongs to."
        )
    weights = _weights("weights", arrays, layout)
    best = _weights("best", arrays, layout) if "best.parameters" in arrays else weights
    return Progress(
        round=state["round"],
        weights=weights,
        best=Scored(
            state["best"]["round"],
            best,
            state["best"]["scores"],
            _named("tables.", arrays),
            _named("evidence.", arrays),
        ),
        memory=_named("memory.", arrays),
        norms=tuple((parameters, statistics) for parameters, statistics in state["norms"]),
        declared=state["declared"],
        trained_in=state["trained_in"],
        waited=state["waited"],
        finished=state["finished"],
    )


def _arrays(name: str, weights: Weights) -> dict[str, Vector]:
    return {f"{name}.parameters": weights.parameters, f"{name}.statistics": weights.statistics}


def _named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _weights(name: str, arrays: Mapping[str, NDArray[np.float32]], layout: Layout) -> Weights:
    return Weights(arrays[f"{name}.parameters"], arrays[f"{name}.statistics"], layout)
