"""Deletion of old studies and expired data; the only deletion that append-only tables allow."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, exists, select, text
from sqlalchemy.orm import Session

from teledx_fed.store.tables import (
    DerivativeRow,
    ImageRow,
    LinkRow,
    PatientRow,
    ReadingRow,
    RefusalRow,
    RetentionRow,
    SessionRow,
    StudyRow,
    SuggestionRow,
    UploadRow,
    ViewRow,
)
from teledx_fed.store.values import DeletedStudies


def forget(session: Session, before: datetime, folder: Path) -> DeletedStudies:
    if session.get_bind().dialect.name == "postgresql":  # no transaction adds to old studies meanwhile
        session.execute(text("LOCK TABLE patients, studies IN EXCLUSIVE MODE"))
    old = select(StudyRow.id).where(StudyRow.received < before)
    paths = [
        folder / path
        for table in (ImageRow, DerivativeRow)
        for path in session.scalars(select(table.path).where(table.study.in_(old)))
    ]
    session.add(RetentionRow(id=1, before=before))
    session.flush()
    for table in (SuggestionRow, ReadingRow, ViewRow, ImageRow, DerivativeRow):
        session.execute(delete(table).where(table.study.in_(old)))
    studies = session.scalars(delete(StudyRow).where(StudyRow.received < before).returning(StudyRow.id)).all()
    session.execute(delete(RefusalRow).where(RefusalRow.last < before))
    session.execute(delete(PatientRow).where(~exists().where(StudyRow.patient == PatientRow.pseudonym)))
    session.execute(delete(RetentionRow))
    return DeletedStudies(len(studies), tuple(sorted(paths)))


def expire(session: Session, time: datetime, folder: Path) -> tuple[Path, ...]:
    for table in (SessionRow, LinkRow):
        session.execute(delete(table).where(table.expires <= time))
    over = delete(UploadRow).where(UploadRow.expires <= time).returning(UploadRow.path)
    return tuple(sorted(folder / path for path in session.scalars(over)))


def strays(session: Session, before: datetime, folder: Path) -> tuple[Path, ...]:
    """Return files without a row, last written before `before`: a newer file may get its row later."""
    still = [
        path
        for path in folder.rglob("*")
        if path.is_file() and datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
    ]
    known = {
        folder / path for table in (ImageRow, DerivativeRow, UploadRow) for path in session.scalars(select(table.path))
    }
    return tuple(sorted(set(still) - known))
