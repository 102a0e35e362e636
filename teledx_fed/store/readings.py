"""Add suggestions and readings, which are never changed; make training examples from signed readings."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from teledx_fed.core.clinical import Diagnosis, EyeReading, Reading, StudyImage, most_urgent
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import GRADES, Example, Eye
from teledx_fed.store.rows import (
    DIAGNOSES,
    READINGS,
    digest_of,
    next_number,
    reading,
    stored_study,
    study_row,
    to_json,
)
from teledx_fed.store.tables import ReadingRow, StudyRow, SuggestionRow, UserRow
from teledx_fed.store.values import StoredStudy, StudyStatus, TrainingReading


def add_suggestion(session: Session, study: str, diagnosis: Diagnosis, time: datetime) -> SuggestionRow:
    text = to_json(DIAGNOSES, diagnosis)
    study_record = study_row(session, study, lock=True)
    row = SuggestionRow(
        study=study,
        number=next_number(session, SuggestionRow, study),
        time=time,
        diagnosis=text,
        digest=digest_of(text),
        model=diagnosis.model,
        demonstration=diagnosis.demonstration,
    )
    session.add(row)
    if study_record.status in (StudyStatus.RECEIVED, StudyStatus.DIAGNOSED):
        study_record.action = diagnosis.action
    if study_record.status is StudyStatus.REOPENED:
        study_record.action = most_urgent([diagnosis.action, *([study_record.action] if study_record.action else [])])
    _advance(study_record, StudyStatus.DIAGNOSED)
    return row


def add_reading(session: Session, reading: Reading, sign: bool, signed_count: int | None, time: datetime) -> ReadingRow:
    """Add a reading; `signed_count` is how many signed readings the reader saw, None if that is not to be checked."""
    _check(reading)
    text = to_json(READINGS, reading)
    study_record = study_row(session, reading.study, lock=True)
    _check_eyes(study_record, reading)
    _check_reader(session, reading.reader)
    _check_suggestion(session, reading, sign)
    _check_signed(session, reading.study, signed_count)
    _check_photographs(study_record, reading)
    row = ReadingRow(
        study=reading.study,
        number=next_number(session, ReadingRow, reading.study),
        reader=reading.reader,
        reading=text,
        digest=digest_of(text),
        signed=time if sign else None,
    )
    session.add(row)
    study_record.action = reading.urgency
    _advance(study_record, StudyStatus.SIGNED if sign else StudyStatus.READ)
    return row


def training_examples(session: Session, folder: Path) -> Iterator[TrainingReading]:
    """Yield photographs with the last signed reading of their study, oldest study first."""
    signed = select(ReadingRow).where(ReadingRow.signed.is_not(None)).order_by(ReadingRow.number)
    last = {row.study: row for row in session.scalars(signed)}
    studies = select(StudyRow).where(StudyRow.id.in_(signed.with_only_columns(ReadingRow.study).order_by(None)))
    loaded = studies.options(selectinload(StudyRow.images)).order_by(StudyRow.received, StudyRow.id)
    for row in session.scalars(loaded):
        last_reading = reading(last[row.id]).reading
        for eye in last_reading.eyes:
            for example in _examples_of_eye(stored_study(row, folder), eye, last_reading.photographs):
                yield TrainingReading(example, eye, row.id, last_reading.reader, last_reading.time, last_reading.seen)


def _examples_of_eye(stored: StoredStudy, eye: EyeReading, photographs: tuple[str, ...]) -> Iterator[Example]:
    """Yield the examples of a graded eye, without photographs that have faults or were added after the reading.

    Photographs of an unknown eye are left out, because they may be of two eyes.
    """
    if eye.gradable and eye.grade is not None and eye.eye is not Eye.UNKNOWN:
        for study_image, image in zip(stored.study.images, stored.images, strict=True):
            was_read = not photographs or image.digest in photographs
            if image.eye is eye.eye and not image.faults and was_read:
                yield _example(stored, study_image, eye, eye.grade)


def _example(stored: StoredStudy, study_image: StudyImage, eye: EyeReading, grade: int) -> Example:
    """Make an example; a study without a patient counts as a patient of its own."""
    return Example(
        image=study_image.photograph,
        grade=grade,
        patient=stored.entry.patient or f"study/{stored.entry.id}",
        eye=study_image.eye,
        field=study_image.field,
        oedema=eye.oedema,
        camera=study_image.camera,
        acquired=stored.entry.acquired,
        source=stored.entry.source,
    )


def _advance(study: StudyRow, status: StudyStatus) -> None:
    study.status = max(study.status, status, key=list(StudyStatus).index)


def _check(reading: Reading) -> None:
    if reading.time.tzinfo is None:
        raise DataError(f"reading.time must have a time zone, got {reading.time.isoformat()}. Use datetime.now(UTC).")
    if len({eye.eye for eye in reading.eyes}) < max(1, len(reading.eyes)):
        raise DataError(
            f"reading.eyes must name at least one eye, and no eye twice, got {reading.eyes}. Read each eye once."
        )
    for eye in reading.eyes:
        _check_grade(eye)


def _check_grade(eye: EyeReading) -> None:
    if eye.grade not in (range(GRADES) if eye.gradable else (None,)):
        raise DataError(
            f"reading.grade must be 0 to {GRADES - 1} for a gradable eye, and empty for another one, got {eye.grade}"
            f" for the {eye.eye} eye. Grade the eye again."
        )


def _check_eyes(study: StudyRow, reading: Reading) -> None:
    eyes_read, eyes_photographed = {eye.eye for eye in reading.eyes}, {image.eye for image in study.images}
    if eyes_read != eyes_photographed:
        raise DataError(
            f"reading.eyes must be the eyes on the study's photographs ({', '.join(sorted(eyes_photographed))}), got "
            f"{', '.join(sorted(eyes_read))}. Load the study again and read each eye."
        )


def _check_signed(session: Session, study: str, expected: int | None) -> None:
    """Raise a `DataError` if there is a signed reading that the reader did not see."""
    signed = (
        select(func.count()).select_from(ReadingRow).where(ReadingRow.study == study, ReadingRow.signed.is_not(None))
    )
    if expected is not None and (count := session.execute(signed).scalar_one()) != expected:
        raise DataError(
            f"study {study} must have as many signed readings as the reader saw ({expected}), got {count}."
            " Load the study again."
        )


def _check_reader(session: Session, name: str) -> None:
    if (reader := session.get(UserRow, name)) is None or reader.disabled:
        raise DataError(f"reading.reader must be a user who may log in, got {name!r}. Log in as such a user.")


def _check_photographs(study: StudyRow, reading: Reading) -> None:
    if reading.photographs and set(reading.photographs) != {image.digest for image in study.images}:
        raise DataError(
            "reading.photographs must be all photographs of the study, got others: a photograph was added in the"
            " meantime. Load the study again."
        )


def _check_suggestion(session: Session, reading: Reading, sign: bool) -> None:
    query = select(SuggestionRow.digest, SuggestionRow.demonstration).where(SuggestionRow.study == reading.study)
    suggestions = session.execute(query.order_by(SuggestionRow.number)).all()
    if reading.suggestion is not None and reading.suggestion not in {row.digest for row in suggestions}:
        raise DataError(
            f"reading.suggestion must be a suggestion for study {reading.study}, got {reading.suggestion}."
            " Load the study again."
        )
    relevant = [*suggestions[-1:], *(row for row in suggestions if row.digest == reading.suggestion)]
    if sign and any(row.demonstration for row in relevant):
        raise DataError(
            f"before a reading is signed, the suggestion for study {reading.study} must be from a model for patients,"
            " got a demonstration. Diagnose the study with a model for patients."
        )
