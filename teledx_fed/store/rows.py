"""Conversion between rows and the values that the store accepts and returns; JSON with a digest of its bytes."""

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Session

from teledx_fed.core.clinical import Diagnosis, Fault, Gap, PatientRecord, Reading, Study, StudyImage
from teledx_fed.core.errors import DataError, IntegrityError
from teledx_fed.data.photographs import stored_photograph
from teledx_fed.store.tables import ImageRow, ReadingRow, StudyRow, SuggestionRow, ViewRow
from teledx_fed.store.values import StoredImage, StoredReading, StoredStudy, StudyEntry, Suggestion

DIAGNOSES = TypeAdapter(Diagnosis)
READINGS = TypeAdapter(Reading)
RECORDS = TypeAdapter(PatientRecord)
FAULTS = TypeAdapter(tuple[Fault, ...])
DOUBTS = TypeAdapter(tuple[Gap, ...])

Value = TypeVar("Value")
Row = TypeVar("Row", bound=DeclarativeBase)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def diagnosis_digest(diagnosis: Diagnosis) -> str:
    """Return the digest by which a reading refers to a suggestion."""
    return digest_of(to_json(DIAGNOSES, diagnosis))


def to_json(adapter: TypeAdapter[Value], value: Value) -> str:
    """Return JSON; raise a `DataError` if it would not read back as the same value, such as for NaN."""
    text = adapter.dump_json(value).decode()
    if adapter.validate_json(text) != value:
        raise DataError(f"{type(value).__name__} must hold plain numbers and words, got {value!r}. Compute it again.")
    return text


def read_json(adapter: TypeAdapter[Value], text: str, digest: str) -> Value:
    """Read JSON; raise an `IntegrityError` if its digest differs, because somebody changed the text."""
    if digest_of(text) != digest:
        raise IntegrityError(f"the stored text must have the digest {digest}, got another text. Restore a backup.")
    return adapter.validate_json(text)


def unknown(what: str, name: str) -> DataError:
    return DataError(f"{what} must be one that is stored, got {name!r}. Choose one from the list.")


def existing(session: Session, table: type[Row], what: str, key: str, lock: bool = False) -> Row:
    """Return a row; with `lock`, other transactions cannot change or delete it before this one ends."""
    if (row := session.get(table, key, with_for_update=lock)) is None:
        raise unknown(what, key)
    return row


def study_row(session: Session, study: str, lock: bool = False) -> StudyRow:
    return existing(session, StudyRow, "study", study, lock)


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
