"""What models predicted for the test sets, kept in one file: it names patients, and stays where the images are."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.numpy import save

from teledx_fed.core.files import write_bytes
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.evaluation.predictions import Booleans, Predictions, pool, same_eyes

CALLED, URGENT, WITHHELD = "called", "urgent", "withheld"
FIELDS = tuple(field.name for field in fields(Predictions))
POINTS = TypeAdapter(tuple[OperatingPoints, ...])

BySite = Mapping[str, Mapping[str, Booleans]]
"""By model and site, one value an eye."""


@dataclass(frozen=True)
class Examination:
    """By model and site: predictions, and which eyes are called referable; by site who patients number 0, 1, … are.

    `urgent` are the eyes that are called urgent, `withheld` those for which no operating point decides that; `points`
    are the operating points, one a fold.
    """

    predictions: Mapping[str, Mapping[str, Predictions]]
    called: BySite
    patients: Mapping[str, tuple[str, ...]]
    urgent: BySite = field(default_factory=dict)
    withheld: BySite = field(default_factory=dict)
    points: Mapping[str, Mapping[str, tuple[OperatingPoints, ...]]] = field(default_factory=dict)

    def among(self, models: Iterable[str]) -> "Examination":
        return self.named({model: model for model in models})

    def named(self, names: Mapping[str, str]) -> "Examination":
        """Of the models in `names`, under the names that they map to."""

        def kept(part: Mapping[str, Any]) -> dict[str, Any]:
            return {new: part[old] for old, new in names.items() if old in part}

        return Examination(
            {new: self.predictions[old] for old, new in names.items()},
            {new: self.called[old] for old, new in names.items()},
            self.patients,
            *map(kept, (self.urgent, self.withheld, self.points)),
        )

    def __or__(self, other: "Examination") -> "Examination":
        """The models of both. A `ValueError` where they were not asked about the same eyes of the same patients."""
        mine, theirs = next(iter(self.predictions.values())), next(iter(other.predictions.values()))
        same = self.patients == other.patients and all(same_eyes(mine[site], theirs[site]) for site in self.patients)
        if not same:
            raise ValueError("models must be tested on the same patients to be compared, got different ones.")
        return Examination(
            {**self.predictions, **other.predictions},
            {**self.called, **other.called},
            self.patients,
            {**self.urgent, **other.urgent},
            {**self.withheld, **other.withheld},
            {**self.points, **other.points},
        )


def everyone(folds: Sequence[Examination]) -> Examination:
    """The folds of a cross-fit one below the other: each patient was tested once, by models that never saw them."""
    first, *others = folds
    if not others:
        return first

    def joined(part: Callable[[Examination], Any], join: Callable[[list[Any]], Any]) -> dict[str, dict[str, Any]]:
        return {m: {s: join([part(fold)[m][s] for fold in folds]) for s in by} for m, by in part(first).items()}

    return Examination(
        joined(lambda fold: fold.predictions, pool),
        joined(lambda fold: fold.called, np.concatenate),
        {site: tuple(name for fold in folds for name in fold.patients[site]) for site in first.patients},
        joined(lambda fold: fold.urgent, np.concatenate),
        joined(lambda fold: fold.withheld, np.concatenate),
        joined(lambda fold: fold.points, lambda points: sum(points, ())),
    )


def write(tested: Examination, path: Path) -> None:
    index = [(model, site) for model, sites in tested.predictions.items() for site in sites]
    arrays = {}
    for i, (model, site) in enumerate(index):
        found = tested.predictions[model][site]
        for name, part in ((CALLED, tested.called), (URGENT, tested.urgent), (WITHHELD, tested.withheld)):
            if site in part.get(model, {}):
                arrays[f"{i}.{name}"] = part[model][site]
        arrays |= {f"{i}.{name}": v for name in FIELDS if (v := getattr(found, name)) is not None}
    listed = [POINTS.dump_python(tested.points.get(model, {}).get(site, ()), mode="json") for model, site in index]
    patients = {site: list(names) for site, names in tested.patients.items()}
    told = {"index": index, "points": listed, "patients": patients}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, save(contiguous, metadata={"tested": json.dumps(told)}))


def read(path: Path) -> Examination:
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()["tested"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    predictions: dict[str, dict[str, Predictions]] = {}
    parts: dict[str, dict[str, dict[str, Booleans]]] = {CALLED: {}, URGENT: {}, WITHHELD: {}}
    points: dict[str, dict[str, tuple[OperatingPoints, ...]]] = {}
    for i, ((model, site), listed) in enumerate(zip(told["index"], told["points"], strict=True)):
        predictions.setdefault(model, {})[site] = _predictions({name: arrays.get(f"{i}.{name}") for name in FIELDS})
        for name, part in parts.items():
            if f"{i}.{name}" in arrays:
                part.setdefault(model, {})[site] = arrays[f"{i}.{name}"]
        points.setdefault(model, {})[site] = POINTS.validate_python(listed)
    patients = {site: tuple(names) for site, names in told["patients"].items()}
    return Examination(predictions, parts[CALLED], patients, parts[URGENT], parts[WITHHELD], points)


def _predictions(arrays: Mapping[str, Any]) -> Predictions:
    return Predictions(**{**arrays, "detects_oedema": bool(arrays["detects_oedema"])})
