"""Which hospital holds a patient, and on which side of its split: all photographs of a patient go the same way."""

import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.checks import must
from teledx_fed.core.examples import Collection, Example, Patients, Shard
from teledx_fed.core.randomness import generator
from teledx_fed.data.dealing import PARTITIONS, Patient

WEAKEST_FIRST = tuple(reversed(Patients))


def assign(collections: Mapping[str, Collection], settings: PartitionSettings, seed: int) -> dict[str, Collection]:
    """Sites by name. Pseudonyms become `source/patient`, so that equal ones of two sources stay two patients.

    What was set aside or not taken of a source is listed at the site of its first patient. A `ValueError` says why a
    site would hold nobody.
    """
    for name, collection in collections.items():
        must(bool(collection.examples), f"data.sources.{name}", "hold a graded photograph", 0, "Leave it out.")
    patients = [patient for name in sorted(collections) for patient in _patients(name, collections[name].examples)]
    sites = PARTITIONS[settings.by](patients, settings, generator(seed, purpose=f"partition {settings.by}"))
    held: defaultdict[str, list[Patient]] = defaultdict(list)
    home: dict[str, str] = {}
    for site, patient in zip(sites, patients, strict=True):
        held[site].append(patient)
        home.setdefault(patient.source, site)
    at_home = {site: [collections[source] for source in home if home[source] == site] for site in held}
    return {
        site: Collection(
            examples=tuple(example for patient in held[site] for example in patient.examples),
            patients=min((collections[patient.source].patients for patient in held[site]), key=WEAKEST_FIRST.index),
            set_aside=tuple(aside for collection in at_home[site] for aside in collection.set_aside),
            not_taken=tuple(left for collection in at_home[site] for left in collection.not_taken),
        )
        for site in sorted(held)
    }


def _patients(source: str, examples: Iterable[Example]) -> list[Patient]:
    held: defaultdict[str, list[Example]] = defaultdict(list)
    for example in _ordered(examples):
        held[example.patient].append(replace(example, patient=f"{source}/{example.patient}"))
    return [Patient(source, tuple(examples)) for examples in held.values()]


def _ordered(examples: Iterable[Example]) -> list[Example]:
    """By patient and photograph, whatever the order in the files."""
    return sorted(examples, key=lambda example: (example.patient, example.image.name))


SIDES = ("train", "validation", "test")


def split(
    examples: Sequence[Example], settings: PartitionSettings, key: bytes, stored: Mapping[str, Any] | None = None
) -> tuple[Shard, dict[str, Any]]:
    """The shard, and what the caller is to keep, as JSON, and to give when it splits again.

    A patient's side follows from its position under the site's secret `key` and from thresholds fixed at first use
    for each grade, the worst at which the patient was first seen. So whoever else comes, goes or changes, it stays.
    """
    terms = {"validation": settings.validation, "test": settings.test, "key": _fingerprint(key)}
    grades = _worst_grades(examples)
    positions = {patient: _position(patient, key) for patient in grades}
    stored = stored or {"terms": terms, "grades": grades, "thresholds": _thresholds(positions, grades, settings)}
    must(
        stored["terms"] == terms,
        "partition.validation, partition.test and the key",
        f"stay as at first use, {stored['terms']}",
        terms,
        "Restore them: under others, tested patients would be trained on.",
    )
    grades |= stored["grades"]
    thresholds = {patient: _threshold(stored["thresholds"], grade) for patient, grade in grades.items()}
    sides = {patient: _side(position, *thresholds[patient]) for patient, position in positions.items()}
    _check_sides(sides)
    train, validation, test = (
        tuple(example for example in _ordered(examples) if sides[example.patient] == side) for side in SIDES
    )
    return Shard(train, validation, test), {**stored, "grades": grades}


def cross_fit(examples: Sequence[Example], settings: PartitionSettings, k: int, fold: int, key: bytes) -> Shard:
    """The shard of which fold `fold` of `k` is tested, and about `settings.validation` of all patients validate.

    Over all folds every patient is tested once. Unlike `split`, a patient who comes moves others.
    """
    parts = folds(examples, k, key)
    rest = [example for i, part in enumerate(parts) if i != fold for example in part]
    shares = max(2, round((1 - 1 / k) / settings.validation))
    validation, *train = folds(rest, min(shares, len(_worst_grades(rest))), _derived(key, fold))
    return Shard(tuple(_ordered(example for part in train for example in part)), validation, parts[fold])


def _derived(key: bytes, fold: int) -> bytes:
    return hmac.digest(key, f"validation {fold}".encode(), "sha256")


def folds(examples: Sequence[Example], k: int, key: bytes) -> list[tuple[Example, ...]]:
    """`k` parts with equal shares of each grade, for cross-fitting over patients."""
    grades = _worst_grades(examples)
    most = len(grades)
    must(2 <= k <= most, "evaluation.folds", f"lie in 2…{most}, the number of patients", k, "Change it to lie there.")
    order = sorted(grades, key=lambda patient: (grades[patient], _position(patient, key)))
    fold = {patient: i % k for i, patient in enumerate(order)}
    return [tuple(example for example in _ordered(examples) if fold[example.patient] == i) for i in range(k)]


def _position(patient: str, key: bytes) -> float:
    """Uniform in 0…1, below 1."""
    return int.from_bytes(hmac.digest(key, patient.encode(), "sha256")[:6]) / 2**48


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, b"fingerprint", "sha256").hex()[:16]


def _worst_grades(examples: Iterable[Example]) -> dict[str, int]:
    grades: dict[str, int] = {}
    for example in examples:
        grades[example.patient] = max(example.grade, grades.get(example.patient, 0))
    return grades


def _side(position: float, test: float, validation: float) -> str:
    return "test" if position < test else "validation" if position < validation else "train"


def _threshold(thresholds: Mapping[str, list[float]], grade: int) -> list[float]:
    return thresholds.get(str(grade), thresholds["pooled"])


def _thresholds(
    positions: Mapping[str, float], grades: Mapping[str, int], settings: PartitionSettings
) -> dict[str, list[float]]:
    """Below which positions a patient is tested, or else validated: for each grade, and pooled for one not yet seen.

    What rounding takes from one grade it gives to the next, so that small sites get their shares too.
    """
    shares = (settings.test, settings.test + settings.validation)
    everyone = sorted(positions.values())
    thresholds = {"pooled": [_cut(everyone, share, round(share * len(everyone))) for share in shares]}
    seen, taken = 0, [0, 0]
    for grade in sorted(set(grades.values())):
        held = sorted(position for patient, position in positions.items() if grades[patient] == grade)
        seen, count = seen + len(held), 0
        thresholds[str(grade)] = []
        for i, share in enumerate(shares):
            count = min(max(round(share * seen) - taken[i], count), len(held))
            taken[i] += count
            thresholds[str(grade)].append(_cut(held, share, count))
    return thresholds


def _cut(positions: Sequence[float], share: float, count: int) -> float:
    """The threshold nearest to `share` with `count` of the sorted `positions` below it."""
    low = positions[count - 1] if count else 0.0
    high = positions[count] if count < len(positions) else 1.0
    return float(np.clip(share, np.nextafter(low, 1), high))


def _check_sides(sides: Mapping[str, str]) -> None:
    counts = Counter(sides.values())
    got = ", ".join(f"{side} {counts[side]}" for side in SIDES)
    must(
        all(counts[side] for side in SIDES),
        "partition.validation and partition.test",
        "leave a patient each to train, validate and test on",
        f"{got} of {len(sides)} patients",
        "Change the shares, or gather more patients.",
    )
