"""Split a site's patients into training, validation and test sets; all photographs of a patient go to one set."""

import hmac
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.checks import must
from teledx_fed.core.examples import Example, Shard

SIDES = ("train", "validation", "test")


def split(
    examples: Sequence[Example], settings: PartitionSettings, key: bytes, stored: Mapping[str, Any] | None = None
) -> tuple[Shard, dict[str, Any]]:
    """Split examples into a shard. Also return the state, as JSON, that the next call takes as `stored`.

    A patient's side follows from a position, computed with the site's secret `key`, and from thresholds for the
    patient's worst grade. The first call fixes thresholds and grades, so a patient keeps the side when others change.
    """
    terms = {"validation": settings.validation, "test": settings.test, "key": _fingerprint(key)}
    grades = _worst_grades(examples)
    positions = {patient: _position(patient, key) for patient in grades}
    stored = stored or {"terms": terms, "grades": grades, "thresholds": _thresholds(positions, grades, settings)}
    must(
        stored["terms"] == terms,
        "partition.validation, partition.test and the key",
        f"be as at the first use, {stored['terms']}",
        terms,
        "Restore them: with other values, tested patients would enter training.",
    )
    grades |= stored["grades"]
    thresholds = {patient: _threshold(stored["thresholds"], grade) for patient, grade in grades.items()}
    sides = {patient: _side(position, *thresholds[patient]) for patient, position in positions.items()}
    _check_sides(sides)
    train, validation, test = (
        tuple(example for example in ordered(examples) if sides[example.patient] == side) for side in SIDES
    )
    return Shard(train, validation, test), {**stored, "grades": grades}


def cross_fit(examples: Sequence[Example], settings: PartitionSettings, k: int, fold: int, key: bytes) -> Shard:
    """Make the shard whose test set is fold `fold` of `k`; about `settings.validation` of all patients validate.

    Over all folds each patient is tested once. Unlike under `split`, a new patient may change the side of others.
    """
    parts = folds(examples, k, key)
    others = [example for i, part in enumerate(parts) if i != fold for example in part]
    shares = max(2, round((1 - 1 / k) / settings.validation))
    fold_key = hmac.digest(key, f"validation {fold}".encode(), "sha256")
    validation, *train = folds(others, min(shares, len(_worst_grades(others))), fold_key)
    return Shard(tuple(ordered(example for part in train for example in part)), validation, parts[fold])


def folds(examples: Sequence[Example], k: int, key: bytes) -> list[tuple[Example, ...]]:
    """Divide examples into `k` parts by patient, with equal shares of each grade."""
    grades = _worst_grades(examples)
    patients = len(grades)
    requirement = f"lie in 2…{patients}, the number of patients"
    must(2 <= k <= patients, "evaluation.folds", requirement, k, "Change it to lie there.")
    order = sorted(grades, key=lambda patient: (grades[patient], _position(patient, key)))
    fold = {patient: i % k for i, patient in enumerate(order)}
    return [tuple(example for example in ordered(examples) if fold[example.patient] == i) for i in range(k)]


def _position(patient: str, key: bytes) -> float:
    """Return a number from 0 to below 1, uniform over patients."""
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
    """Compute the positions below which a patient is tested, or else validated, by grade and pooled for a new grade.

    Rounding errors carry over from one grade to the next, so that small sites get their shares too.
    """
    shares = (settings.test, settings.test + settings.validation)
    pooled = sorted(positions.values())
    thresholds = {"pooled": [_cut(pooled, share, round(share * len(pooled))) for share in shares]}
    cumulative, assigned = 0, [0, 0]
    for grade in sorted(set(grades.values())):
        of_grade = sorted(position for patient, position in positions.items() if grades[patient] == grade)
        cumulative, count = cumulative + len(of_grade), 0
        thresholds[str(grade)] = []
        for i, share in enumerate(shares):
            count = min(max(round(share * cumulative) - assigned[i], count), len(of_grade))
            assigned[i] += count
            thresholds[str(grade)].append(_cut(of_grade, share, count))
    return thresholds


def _cut(positions: Sequence[float], share: float, count: int) -> float:
    """Return the threshold nearest to `share` with `count` of the sorted `positions` below it."""
    low = positions[count - 1] if count else 0.0
    high = positions[count] if count < len(positions) else 1.0
    return float(np.clip(share, np.nextafter(low, 1), high))


def _check_sides(sides: Mapping[str, str]) -> None:
    counts = Counter(sides.values())
    got = ", ".join(f"{side} {counts[side]}" for side in SIDES)
    must(
        all(counts[side] for side in SIDES),
        "partition.validation and partition.test",
        "leave at least one patient for training, validation and test",
        f"{got} of {len(sides)} patients",
        "Change the shares, or add more patients.",
    )


def ordered(examples: Iterable[Example]) -> list[Example]:
    """Sort examples by patient and photograph, so that the order of files does not matter."""
    return sorted(examples, key=lambda example: (example.patient, example.image.name))
