"""Predictions of all models on the test sets, stored in one file. It identifies patients: keep it with the images."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.numpy import save

from teledx_fed.core.errors import DataError
from teledx_fed.core.files import write_bytes
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.evaluation.predictions import Booleans, Predictions, pool, same_eyes

CALLED, URGENT, WITHHELD = "called", "urgent", "withheld"
FIELDS = tuple(field.name for field in fields(Predictions))
POINTS = TypeAdapter(tuple[OperatingPoints, ...])

EyesBySite = Mapping[str, Mapping[str, Booleans]]
"""Values (n,), one per eye, by model and site."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions for the test set, and the eyes `called` referable by the operating points, by model and site.

    `patients[site]` are the patients with numbers 0, 1, …. `urgent` are the eyes called urgent, `withheld` those whose
    urgent operating point is withheld. `points` are the operating points, one for each fold.
    """

    predictions: Mapping[str, Mapping[str, Predictions]]
    called: EyesBySite
    patients: Mapping[str, tuple[str, ...]]
    urgent: EyesBySite = field(default_factory=dict)
    withheld: EyesBySite = field(default_factory=dict)
    points: Mapping[str, Mapping[str, tuple[OperatingPoints, ...]]] = field(default_factory=dict)

    def among(self, models: Iterable[str]) -> "Evaluation":
        """Return the part for `models`."""
        return self.named({model: model for model in models})

    def named(self, names: Mapping[str, str]) -> "Evaluation":
        """Return the part for the models in `names`, renamed to its values."""

        def selected(part: Mapping[str, Any]) -> dict[str, Any]:
            return {new: part[old] for old, new in names.items() if old in part}

        return Evaluation(
            {new: self.predictions[old] for old, new in names.items()},
            {new: self.called[old] for old, new in names.items()},
            self.patients,
            *map(selected, (self.urgent, self.withheld, self.points)),
        )

    def __or__(self, other: "Evaluation") -> "Evaluation":
        """Return the models of both. Raise a `DataError` where their eyes or patients differ."""
        mine, theirs = next(iter(self.predictions.values())), next(iter(other.predictions.values()))
        same = self.patients == other.patients and all(same_eyes(mine[site], theirs[site]) for site in self.patients)
        if not same:
            raise DataError("models must be tested on the same patients to be compared, got different ones.")
        return Evaluation(
            {**self.predictions, **other.predictions},
            {**self.called, **other.called},
            self.patients,
            {**self.urgent, **other.urgent},
            {**self.withheld, **other.withheld},
            {**self.points, **other.points},
        )


def concatenate_folds(folds: Sequence[Evaluation]) -> Evaluation:
    """Join the folds of a cross-validation, which tests each patient once with models not trained on that patient."""
    first, *others = folds
    if not others:
        return first

    def joined(part: Callable[[Evaluation], Any], join: Callable[[list[Any]], Any]) -> dict[str, dict[str, Any]]:
        return {m: {s: join([part(fold)[m][s] for fold in folds]) for s in by} for m, by in part(first).items()}

    return Evaluation(
        joined(lambda fold: fold.predictions, pool),
        joined(lambda fold: fold.called, np.concatenate),
        {site: tuple(name for fold in folds for name in fold.patients[site]) for site in first.patients},
        joined(lambda fold: fold.urgent, np.concatenate),
        joined(lambda fold: fold.withheld, np.concatenate),
        joined(lambda fold: fold.points, lambda points: sum(points, ())),
    )


def write(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as safetensors: arrays by number of model and site; the rest is JSON metadata."""
    index = [(model, site) for model, sites in evaluation.predictions.items() for site in sites]
    parts = ((CALLED, evaluation.called), (URGENT, evaluation.urgent), (WITHHELD, evaluation.withheld))
    arrays: dict[str, Any] = {}
    for i, (model, site) in enumerate(index):
        predictions = evaluation.predictions[model][site]
        arrays |= {f"{i}.{name}": part[model][site] for name, part in parts if site in part.get(model, {})}
        arrays |= {f"{i}.{name}": v for name in FIELDS if (v := getattr(predictions, name)) is not None}
    points = [POINTS.dump_python(evaluation.points.get(model, {}).get(site, ()), mode="json") for model, site in index]
    patients = {site: list(names) for site, names in evaluation.patients.items()}
    metadata = {"index": index, "points": points, "patients": patients}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, save(contiguous, metadata={"tested": json.dumps(metadata)}))


def read(path: Path) -> Evaluation:
    """Read a file of `write`."""
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["tested"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    predictions: dict[str, dict[str, Predictions]] = {}
    parts: dict[str, dict[str, dict[str, Booleans]]] = {CALLED: {}, URGENT: {}, WITHHELD: {}}
    points: dict[str, dict[str, tuple[OperatingPoints, ...]]] = {}
    for i, ((model, site), of_folds) in enumerate(zip(metadata["index"], metadata["points"], strict=True)):
        predictions.setdefault(model, {})[site] = _predictions({name: arrays.get(f"{i}.{name}") for name in FIELDS})
        for name, part in parts.items():
            if f"{i}.{name}" in arrays:
                part.setdefault(model, {})[site] = arrays[f"{i}.{name}"]
        points.setdefault(model, {})[site] = POINTS.validate_python(of_folds)
    patients = {site: tuple(names) for site, names in metadata["patients"].items()}
    return Evaluation(predictions, parts[CALLED], patients, parts[URGENT], parts[WITHHELD], points)


def _predictions(arrays: Mapping[str, Any]) -> Predictions:
    return Predictions(**{**arrays, "detects_oedema": bool(arrays["detects_oedema"])})
