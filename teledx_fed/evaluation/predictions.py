"""Predictions of a model for each eye, with the true labels."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import GRADES, Example, Eye

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

REFERABLE, VISION_THREATENING = 2, 3
"""The lowest ICDR grade of each."""


@dataclass(frozen=True)
class Predictions:
    """Labels and scores (n,) of eyes; `patient` numbers the patients from 0.

    `referable` and `vision_threatening` are true labels, with labelled oedema. `detects_oedema`: the model has an
    output for oedema.

    `probabilities` is (n, 5). A head with one output (referable or not) has neither `probabilities` nor
    `vision_threatening_score`.
    """

    grade: Integers
    referable: Booleans
    vision_threatening: Booleans
    probabilities: Floats | None
    referable_score: Floats
    vision_threatening_score: Floats | None
    patient: Integers
    detects_oedema: bool = False

    def detectable(self, least_grade: int) -> Booleans:
        """Return the diseased eyes (n,) that the model can detect: without an oedema output, by their grade alone."""
        clinical = {REFERABLE: self.referable, VISION_THREATENING: self.vision_threatening}[least_grade]
        return clinical if self.detects_oedema else np.asarray(self.grade >= least_grade)

    @property
    def eyes(self) -> int:
        return self.patient.size

    @property
    def patients(self) -> int:
        return np.unique(self.patient).size


def predictions(
    examples: Sequence[Example], probabilities: Floats, oedema_probability: Floats | None = None
) -> Predictions:
    """Combine images into eyes: average the probabilities of one eye's images and take its worst label.

    `probabilities` is (m, 5), or (m,) for a head with one output. An image of an unknown eye counts as a separate
    eye.
    """
    _check(len(examples), probabilities, oedema_probability)
    eye = _numbered(
        (e.source, e.patient, e.eye if e.eye is not Eye.UNKNOWN else image) for image, e in enumerate(examples)
    )
    patient = _numbered((e.source, e.patient) for e in examples)
    graded = probabilities.ndim == 2
    mean = _mean(eye, probabilities)
    oedema = np.zeros(len(mean)) if oedema_probability is None else _mean(eye, oedema_probability)
    return Predictions(
        grade=_worst(eye, [e.grade for e in examples]),
        referable=_worst(eye, [e.referable for e in examples]) == 1,
        vision_threatening=_worst(eye, [e.vision_threatening for e in examples]) == 1,
        probabilities=mean if graded else None,
        referable_score=either(mean[:, REFERABLE:].sum(axis=1) if graded else mean, oedema),
        vision_threatening_score=either(mean[:, VISION_THREATENING:].sum(axis=1), oedema) if graded else None,
        patient=_worst(eye, patient),
        detects_oedema=oedema_probability is not None,
    )


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate the eyes of several sites; no two sites share a patient."""
    before = np.cumsum([0, *(part.patients for part in parts)])
    return Predictions(
        grade=np.concatenate([part.grade for part in parts]),
        referable=np.concatenate([part.referable for part in parts]),
        vision_threatening=np.concatenate([part.vision_threatening for part in parts]),
        probabilities=np.concatenate(graded) if (graded := all_or_none(part.probabilities for part in parts)) else None,
        referable_score=np.concatenate([part.referable_score for part in parts]),
        vision_threatening_score=(
            np.concatenate(scores) if (scores := all_or_none(part.vision_threatening_score for part in parts)) else None
        ),
        patient=np.concatenate([start + part.patient for start, part in zip(before, parts, strict=False)]),
        detects_oedema=all(part.detects_oedema for part in parts),
    )


def all_or_none(parts: Iterable[Floats | None]) -> list[Floats]:
    """Return all `parts`, or an empty list if all are None."""
    listed = list(parts)
    present = [part for part in listed if part is not None]
    assert len(present) in (0, len(listed)), "every model must have the same kind of head"
    return present


def same_eyes(first: Predictions, second: Predictions) -> bool:
    """Whether both describe the same eyes, in the same order: equal labels and patients."""
    labels = ("grade", "referable", "vision_threatening", "patient")
    return all(np.array_equal(getattr(first, label), getattr(second, label)) for label in labels)


def _check(images: int, probabilities: Floats, oedema: Floats | None) -> None:
    one, five, remedy = (images,), (images, GRADES), "Give one row for each example."
    shape, fits = probabilities.shape, probabilities.shape in (one, five)
    must(fits, "probabilities", f"have shape {one} or {five}", shape, remedy, DataError)
    if oedema is not None:
        fits = oedema.shape == one and shape == five
        must(fits, "oedema_probability", f"have shape {one}, with five grades", oedema.shape, remedy, DataError)
    values = np.concatenate([probabilities.ravel(), [] if oedema is None else oedema])
    bad = values[~((values >= -1e-6) & (values <= 1 + 1e-6))]
    must(bad.size == 0, "probabilities", "lie in 0…1", bad[:3].tolist(), "The model may have diverged.", DataError)


def _numbered(keys: Iterable[Hashable]) -> Integers:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _mean(eye: Integers, values: Floats) -> Floats:
    images = np.bincount(eye)
    total = np.zeros((images.size, *values.shape[1:]))
    np.add.at(total, eye, values)
    return (total.T / images).T


def _worst(eye: Integers, labels: Sequence[int] | Integers) -> Integers:
    worst = np.zeros(np.bincount(eye).size, dtype=np.int64)
    np.maximum.at(worst, eye, np.asarray(labels, dtype=np.int64))
    return worst


def either(score: Floats | float, oedema: Floats | float) -> Floats:
    """Return the probability of either of two independent events."""
    return np.asarray(np.clip(score + oedema - score * oedema, 0, 1))
