"""The status of a study's report: only a clinician's signed reading makes it final."""

from collections.abc import Sequence
from enum import StrEnum

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import DEMONSTRATION, SUGGESTION, Diagnosis, Reading, Study
from teledx_fed.core.errors import DataError


class ReportStatus(StrEnum):
    """The status of a report, by its FHIR R4 codes."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


def status(
    study: Study, diagnosis: Diagnosis, reading: Reading | None, earlier: Sequence[Reading] = ()
) -> ReportStatus:
    """Return the status of a report; `reading` is the latest signed one and may amend the `earlier` ones.

    A report of a demonstration, or of a study with a photograph added after the reading, is preliminary.
    """
    for item in filter(None, (*earlier, reading)):
        is_of_study = item.study == study.id
        must(is_of_study, "reading", f"be of study {study.id}", item.study, "Use a reading of this study.", DataError)
        zoned = item.time.utcoffset() is not None
        must(zoned, "reading.time", "have a time zone", item.time, "Store it in UTC.", DataError)
    if reading is None or diagnosis.demonstration or came_after(study, reading):
        return ReportStatus.PRELIMINARY
    is_amended = any(_content(item) != _content(reading) for item in earlier)
    return ReportStatus.AMENDED if is_amended else ReportStatus.FINAL


def came_after(study: Study, reading: Reading) -> bool:
    """Return whether the study has a photograph that was added after the reading."""
    return bool(reading.photographs) and any(
        image.photograph.digest() not in reading.photographs for image in study.images
    )


def marks(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return the marks that every output shows."""
    return (SUGGESTION, DEMONSTRATION) if diagnosis.demonstration else (SUGGESTION,)


def _content(reading: Reading) -> tuple[object, ...]:
    return frozenset(reading.eyes), reading.urgency, reading.note
