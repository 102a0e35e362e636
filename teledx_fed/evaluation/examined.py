"""What models said of the test sets, kept in one file: it names patients, and stays where the images are."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from teledx_fed.evaluation.predictions import Booleans, Predictions, pool, same_eyes
from teledx_fed.files import write_bytes

CALLED = "called"
FIELDS = tuple(field.name for field in fields(Predictions))


@dataclass(frozen=True)
class Examination:
    """By model and site: predictions, and which eyes are called referable; by site who patients number 0, 1, … are."""

    predictions: Mapping[str, Mapping[str, Predictions]]
    called: Mapping[str, Mapping[str, Booleans]]
    patients: Mapping[str, tuple[str, ...]]

    def among(self, models: Iterable[str]) -> "Examination":
        chosen = list(models)
        return Examination(
            {model: self.predictions[model] for model in chosen},
            {model: self.called[model] for model in chosen},
            self.patients,
        )

    def named(self, names: Mapping[str, str]) -> "Examination":
        """Of the models in `names`, under the names that they map to."""
        return Examination(
            {new: self.predictions[old] for old, new in names.items()},
            {new: self.called[old] for old, new in names.items()},
            self.patients,
        )

    def __or__(self, other: "Examination") -> "Examination":
        """The models of both. A `ValueError` where they were not asked about the same eyes of the same patients."""
        mine, theirs = next(iter(self.predictions.values())), next(iter(other.predictions.values()))
        same = self.patients == other.patients and all(same_eyes(mine[site], theirs[site]) for site in self.patients)
        if not same:
            raise ValueError("models must be tested on the same patients to be compared, got different ones.")
        return Examination({**self.predictions, **other.predictions}, {**self.called, **other.called}, self.patients)


def everyone(folds: Sequence[Examination]) -> Examination:
    """The folds of a cross-fit one below the other: each patient was tested once, by models that never saw them."""
    first, *others = folds
    if not others:
        return first

    def joined(part: Callable[[Examination], Any]) -> dict[str, dict[str, list[Any]]]:
        return {m: {s: [part(fold)[m][s] for fold in folds] for s in sites} for m, sites in first.predictions.items()}

    return Examination(
        {m: {s: pool(found) for s, found in by.items()} for m, by in joined(lambda fold: fold.predictions).items()},
        {m: {s: np.concatenate(c) for s, c in by.items()} for m, by in joined(lambda fold: fold.called).items()},
        {site: tuple(name for fold in folds for name in fold.patients[site]) for site in first.patients},
    )


def write(tested: Examination, path: Path) -> None:
    index = [(model, site) for model, sites in tested.predictions.items() for site in sites]
    arrays = {}
    for i, (model, site) in enumerate(index):
        found = tested.predictions[model][site]
        arrays[f"{i}.{CALLED}"] = tested.called[model][site]
        arrays |= {f"{i}.{name}": v for name in FIELDS if (v := getattr(found, name)) is not None}
    told = {"index": index, "patients": {site: list(names) for site, names in tested.patients.items()}}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, save(contiguous, metadata={"tested": json.dumps(told)}))


def read(path: Path) -> Examination:
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()["tested"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    predictions: dict[str, dict[str, Predictions]] = {}
    called: dict[str, dict[str, Booleans]] = {}
    for i, (model, site) in enumerate(told["index"]):
        found = Predictions(**{name: cast(Any, arrays.get(f"{i}.{name}")) for name in FIELDS})
        predictions.setdefault(model, {})[site] = found
        called.setdefault(model, {})[site] = arrays[f"{i}.{CALLED}"]
    return Examination(predictions, called, {site: tuple(names) for site, names in told["patients"].items()})
