"""Grade photographs with a model bundle and suggest a diagnosis for their study."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.clinical import Diagnosis, Fault, Gap, OutOfScope, PatientRecord, Study, StudyImage
from teledx_fed.core.errors import DataError, IntegrityError
from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.assessment import assess
from teledx_fed.data.comparison import alike_in_both_eyes
from teledx_fed.data.disc import Disc, field_of, side_of
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.diagnosis.grading import grade
from teledx_fed.diagnosis.heat_map import heat_map
from teledx_fed.diagnosis.judgement import PhotographResult, judge
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.model.bundle import Bundle, Scope

SMALLER = 0.9
"""A photograph is out of scope below this share of the shortest side in training. The margin is for photographs of the
same camera that are a few pixels smaller."""


def open_bundle(folder: Path, threads: int) -> Bundle:
    """Open a bundle; raise an `IntegrityError` if its training used another preparation of photographs."""
    bundle = Bundle(folder, threads)
    if (version := bundle.manifest.preparation.version) != PREPARATION_VERSION:
        raise IntegrityError(
            f"{folder} must have been trained on photographs as this release prepares them ({PREPARATION_VERSION}), "
            f"got version {version}. Install the release that wrote it, or have it written again."
        )
    return bundle


def diagnose(
    study: Study, results: Sequence[PhotographResult], bundle: Bundle, referral: ReferralSettings
) -> tuple[Diagnosis, tuple[PhotographResult, ...]]:
    """Return the suggestion for a study, and the results with a doubt where photographs of both eyes look the same.

    `results` follow the order of the study's photographs. A `DataError` names a file that is stated for both eyes.
    """
    refuse_one_photograph_for_both(study.images)
    compared = with_alike_doubts(results)
    return judged(compared, study.record, bundle, referral), compared


def judged(
    results: Sequence[PhotographResult], record: PatientRecord, bundle: Bundle, referral: ReferralSettings
) -> Diagnosis:
    """Return the suggestion for a patient from the results of all photographs of the study."""
    return judge(results, record, referral, bundle.digest, bundle.manifest.demonstration)


def with_alike_doubts(results: Sequence[PhotographResult]) -> tuple[PhotographResult, ...]:
    """Add a doubt to photographs of different eyes that look the same."""
    alike = alike_in_both_eyes([(result.eye, result.pixels) for result in results if result.pixels is not None])
    return tuple(
        replace(result, doubts=(*result.doubts, Gap.BOTH_EYES_ALIKE)) if place in alike else result
        for place, result in enumerate(results)
    )


def assess_photograph(image: StudyImage, bundle: Bundle, faults: tuple[Fault, ...] | None = None) -> PhotographResult:
    """Decode, assess and grade one photograph; pass `faults` if its quality was assessed before."""
    preparation = bundle.manifest.preparation
    assessed = assess(
        image.photograph, preparation.image_size, preparation.ben_graham, preparation.clahe, faults=faults
    )
    result = PhotographResult(image.eye, image.field, assessed.faults, doubts=image.doubts, pixels=assessed.pixels)
    if assessed.prepared is None:
        return result
    outputs = bundle(assessed.prepared[None])
    return replace(
        result,
        field=_field(image, assessed.disc),
        outside=_outside(image, assessed.pixels, bundle.manifest.scope),
        doubts=_doubts(image, assessed.disc),
        graded=grade(outputs, bundle.manifest.calibration),
        disc=assessed.disc,
        heat=heat_map(outputs, bundle.head)[0],
    )


def refuse_one_photograph_for_both(images: Sequence[StudyImage]) -> None:
    """Raise a `DataError` if one file is stated for two eyes."""
    eyes = defaultdict(set)
    for image in images:
        eyes[image.photograph.digest()].add(image.eye)
    for image in images:
        if len(eyes[image.photograph.digest()]) > 1:
            raise DataError(
                f"{image.photograph.name} must show one eye, got the same photograph for two. Send that of the other."
            )


def _field(image: StudyImage, disc: Disc | None) -> Field:
    """Return the stated field, or else the field that the position of the disc implies."""
    return field_of(disc) if image.field is Field.UNKNOWN else image.field


def _doubts(image: StudyImage, disc: Disc | None) -> tuple[Gap, ...]:
    side = side_of(disc)
    contradicted = Eye.UNKNOWN not in (image.eye, side) and image.eye is not side
    return tuple(dict.fromkeys((*image.doubts, *([Gap.EYE_CONTRADICTED] if contradicted else []))))


def _outside(image: StudyImage, pixels: NDArray[np.uint8], scope: Scope) -> tuple[OutOfScope, ...]:
    new = bool(scope.cameras) and image.camera not in (*scope.cameras, "unknown")
    small = min(pixels.shape[:2]) < SMALLER * scope.shortest_side
    return (OutOfScope.CAMERA,) * new + (OutOfScope.IMAGE_SIZE,) * small
