"""The status of a study's report: only a clinician's signed reading makes it final."""

from collections.abc import Sequence
from enum import StrEnum

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import DEMONSTRATION, SUGGESTION, Diagnosis, Reading, Study
from teledx_fed.core.errors import DataError


class Status(StrEnum):
    """The status of a report, in the words of FHIR R4."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


def status(study: Study, diagnosis: Diagnosis, reading: Reading | None, earlier: Sequence[Reading] = ()) -> Status:
    """Return the status of a report; `reading` is the latest, which may amend the `earlier` ones.

    A demonstration is never final, and neither is a reading of fewer photographs than the study has.
    """
    for each in filter(None, (*earlier, reading)):
        must(
            each.study == study.id,
            "reading",
            f"be of study {study.id}",
            each.study,
            "Take that study's own.",
            DataError,
        )
        must(
            each.time.utcoffset() is not None,
            "reading.time",
            "have a time zone",
            each.time,
            "Store it in UTC.",
            DataError,
        )
    if reading is None or diagnosis.demonstration or came_after(study, reading):
        return Status.PRELIMINARY
    return Status.AMENDED if any(_says(each) != _says(reading) for each in earlier) else Status.FINAL


def came_after(study: Study, reading: Reading) -> bool:
    """Whether the study has a photograph that was not there when it was read."""
    return bool(reading.photographs) and any(
        image.photograph.digest() not in reading.photographs for image in study.images
    )


def marks(diagnosis: Diagnosis) -> tuple[str, ...]:
    """The marks that stand on every output."""
    return (SUGGESTION, DEMONSTRATION) if diagnosis.demonstration else (SUGGESTION,)


def _says(reading: Reading) -> tuple[object, ...]:
    return frozenset(reading.eyes), reading.urgency, reading.note
