"""Training examples from signed readings."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from teledx_fed.core.clinical import EyeReading, StudyImage
from teledx_fed.core.examples import Example, Eye
from teledx_fed.store.rows import reading, stored_study
from teledx_fed.store.tables import ReadingRow, StudyRow
from teledx_fed.store.values import StoredStudy, TrainingReading


def examples(session: Session, folder: Path) -> Iterator[TrainingReading]:
    """Yield photographs with the last signed reading of their study, oldest study first."""
    signed = select(ReadingRow).where(ReadingRow.signed.is_not(None)).order_by(ReadingRow.number)
    last = {row.study: row for row in session.scalars(signed)}
    studies = select(StudyRow).where(StudyRow.id.in_(signed.with_only_columns(ReadingRow.study).order_by(None)))
    loaded = studies.options(selectinload(StudyRow.images)).order_by(StudyRow.received, StudyRow.id)
    for row in session.scalars(loaded):
        said = reading(last[row.id]).reading
        for eye in said.eyes:
            for example in _of_eye(stored_study(row, folder), eye, said.photographs):
                yield TrainingReading(example, eye, said.study, said.reader, said.time, said.seen)


def _of_eye(stored: StoredStudy, eye: EyeReading, photographs: tuple[str, ...]) -> Iterator[Example]:
    """Yield the examples of a graded eye, without photographs that have faults or were added after the reading.

    Photographs of an unknown eye are left out, because they may be of two eyes.
    """
    if eye.gradable and eye.grade is not None and eye.eye is not Eye.UNKNOWN:
        for photographed, image in zip(stored.study.images, stored.images, strict=True):
            was_read = not photographs or image.digest in photographs
            if image.eye is eye.eye and not image.faults and was_read:
                yield _example(stored, photographed, eye, eye.grade)


def _example(stored: StoredStudy, photographed: StudyImage, eye: EyeReading, grade: int) -> Example:
    """Make an example; a study without a patient counts as a patient of its own."""
    return Example(
        image=photographed.photograph,
        grade=grade,
        patient=stored.entry.patient or f"study/{stored.entry.id}",
        eye=photographed.eye,
        field=photographed.field,
        oedema=eye.oedema,
        camera=photographed.camera,
        acquired=stored.entry.acquired,
        source=stored.entry.source,
    )
