"""Conversion of rows to the values that the store returns."""

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from teledx_fed.core.clinical import Study, StudyImage
from teledx_fed.core.errors import DataError
from teledx_fed.data.photographs import stored_photograph
from teledx_fed.store.content import DIAGNOSES, DOUBTS, FAULTS, READINGS, RECORDS, read_json
from teledx_fed.store.tables import ImageRow, ReadingRow, RefusalRow, StudyRow, SuggestionRow, ViewRow
from teledx_fed.store.values import (
    LoggedView,
    StoredImage,
    StoredReading,
    StoredRefusal,
    StoredStudy,
    StudyEntry,
    Suggestion,
)


def unknown(what: str, name: str) -> DataError:
    return DataError(f"{what} must be one that is stored, got {name!r}. Choose one from the list.")


def study_row(session: Session, study: str, lock: bool = False) -> StudyRow:
    """Return a study's row; with `lock`, other transactions cannot change or delete it before this one ends."""
    if (row := session.get(StudyRow, study, with_for_update=lock)) is None:
        raise unknown("study", study)
    return row


def next_number(session: Session, row: type[SuggestionRow | ReadingRow | ViewRow], study: str) -> int:
    """Return the next number of a row, in a study that is locked."""
    return session.execute(select(func.coalesce(func.max(row.number), 0) + 1).where(row.study == study)).scalar_one()


def entry(row: StudyRow) -> StudyEntry:
    return StudyEntry(row.id, row.patient, row.acquired, row.received, row.source, row.status, row.action)


def image(row: ImageRow) -> StoredImage:
    faults, doubts = FAULTS.validate_json(row.faults), DOUBTS.validate_json(row.doubts)
    size = row.width, row.height
    return StoredImage(row.digest, row.path, *size, row.eye, row.field, row.camera, faults, doubts, row.instance)


def stored_study(row: StudyRow, folder: Path) -> StoredStudy:
    images = tuple(image(stored) for stored in row.images)
    photographed = tuple(
        StudyImage(
            stored_photograph(folder / stored.path, stored.digest),
            stored.eye,
            stored.field,
            stored.camera,
            stored.doubts,
        )
        for stored in images
    )
    study = Study(row.id, photographed, row.patient, RECORDS.validate_json(row.record), row.acquired)
    return StoredStudy(entry(row), study, images)


def suggestion(row: SuggestionRow) -> Suggestion:
    return Suggestion(row.study, row.time, row.digest, read_json(DIAGNOSES, row.diagnosis, row.digest))


def reading(row: ReadingRow) -> StoredReading:
    return StoredReading(row.digest, row.signed, read_json(READINGS, row.reading, row.digest))


def view(row: ViewRow) -> LoggedView:
    return LoggedView(row.study, row.user, row.what, row.time)


def refusal(row: RefusalRow) -> StoredRefusal:
    return StoredRefusal(row.id, row.source, row.patient, row.reason, row.first, row.last, row.times)
