"""Deletion of old studies and expired data; the only deletion that append-only tables allow."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, exists, select, text

from teledx_fed.store.database import Database
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


class Retention:
    """Delete rows; the caller deletes the files at the returned paths."""

    def __init__(self, database: Database, folder: Path, clock: Callable[[], datetime]) -> None:
        self._database, self._folder, self._clock = database, folder, clock

    def forget(self, before: datetime) -> DeletedStudies:
        """Delete the studies received before that time with all their rows, and patients without studies.

        If a crash leaves files of theirs, `stray_files` finds them.
        """
        with self._database.writing() as session:
            if self._database.is_postgresql:  # no transaction adds to old studies meanwhile
                session.execute(text("LOCK TABLE patients, studies IN EXCLUSIVE MODE"))
            old = select(StudyRow.id).where(StudyRow.received < before)
            paths = [
                self._folder / path
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

    def expire(self) -> tuple[Path, ...]:
        """Delete expired sessions, links and uploads; return the paths of upload files."""
        time = self._clock()
        with self._database.writing() as session:
            for table in (SessionRow, LinkRow):
                session.execute(delete(table).where(table.expires <= time))
            expired = delete(UploadRow).where(UploadRow.expires <= time).returning(UploadRow.path)
            return tuple(sorted(self._folder / path for path in session.scalars(expired)))

    def stray_files(self, before: datetime) -> tuple[Path, ...]:
        """Return files without a row, last written before `before`: a newer file may get its row later."""
        old = {
            path
            for path in self._folder.rglob("*")
            if path.is_file() and datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
        }
        tables = (ImageRow, DerivativeRow, UploadRow)
        with self._database.reading() as session:
            stored = {self._folder / path for table in tables for path in session.scalars(select(table.path))}
        return tuple(sorted(old - stored))

    def has_images(self, folder: str) -> bool:
        """Return whether a study has images in this folder."""
        images = select(ImageRow.path).where(ImageRow.path.startswith(f"{folder}/", autoescape=True))
        with self._database.reading() as session:
            return session.scalars(images).first() is not None

    def patients(self) -> frozenset[str]:
        """Return the pseudonyms of the patients who have studies."""
        with self._database.reading() as session:
            return frozenset(session.scalars(select(PatientRow.pseudonym)))

    def studies(self) -> frozenset[str]:
        """Return the ids of all studies."""
        with self._database.reading() as session:
            return frozenset(session.scalars(select(StudyRow.id)))
